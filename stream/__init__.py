"""The stream of notifications: server-sent events, in a process of its own.

An open stream would hold a thread of the gateway for hours; here it holds a greenlet. Tokens, problems and limits are
the gateway's own; unlike the gateway this process reads MongoDB.
"""
