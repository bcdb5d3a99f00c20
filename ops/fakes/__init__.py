"""The outside world on loopback: Auth0, Stripe and YooKassa, spoken to by their real SDKs.

Each is one process, ``python -m ops.fakes.<name>``; what they share lies beside them:
``store`` (what is remembered), ``calls`` (one API call, told once for both providers), ``faults``, ``notices``
(webhooks), ``pages`` (the hosted page), ``serving``.
"""
