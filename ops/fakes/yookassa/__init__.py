"""The fake of YooKassa: the API calls of the ``yookassa`` SDK, the hosted payment page and notifications.

Control endpoints in addition to those of ``serving.add_controls``: ``GET/POST /__pay/{payment}``,
``POST /__refund/{refund}``, ``POST /__methods/{saved method}``, ``GET /__state``.
"""
