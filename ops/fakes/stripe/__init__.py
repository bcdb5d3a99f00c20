"""The fake of Stripe: the API that the ``stripe`` SDK calls, the hosted page, signed webhooks.

Controls, besides those of ``serving.add_controls``: ``GET/POST /__pay/{session or intent}``,
``POST /__dispute/{payment intent}``, ``POST /__refund/{refund}``, ``POST /__methods/{payment method}``,
``GET /__state``.
"""
