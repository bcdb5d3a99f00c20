"""Fakes of the external providers on the loopback address. Their real SDKs talk to them: Auth0, Stripe, YooKassa, FCM.

Each fake is one process, ``python -m ops.fakes.<name>``. Shared modules: ``store`` (the database of a fake), ``calls``
(an API call of either payment provider), ``faults`` (injected failures), ``webhook_sender``, ``pages`` (the hosted
payment page), ``serving`` (the server and the control endpoints). README.md lists versions, refusals and controls.
"""
