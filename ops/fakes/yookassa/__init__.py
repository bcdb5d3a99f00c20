"""The fake of YooKassa: the API that the ``yookassa`` SDK calls, the hosted page, notifications.

Controls, besides those of ``serving.add_controls``: ``GET/POST /__pay/{payment}``, ``POST /__refund/{refund}``,
``POST /__methods/{saved method}``, ``GET /__state``.
"""
