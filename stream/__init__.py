"""The notification stream: server-sent events, served by a separate process.

In the gateway an open stream would occupy a thread for hours; here it occupies a greenlet. Tokens, errors and rate
limits work as in the gateway. Unlike the gateway, this process reads MongoDB.
"""
