"""The fake of Stripe: the API calls of the ``stripe`` SDK, the hosted payment page and signed webhooks.

Control endpoints in addition to those of ``serving.add_controls``: ``GET/POST /__pay/{session or intent}``,
``POST /__dispute/{payment intent}``, ``POST /__refund/{refund}``, ``POST /__methods/{payment method}``,
``GET /__state``.
"""
