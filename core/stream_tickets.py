"""Tickets for the notification stream: short-lived, single-use, for browsers whose EventSource sends no headers.

A ticket replaces the token of one request only. It is stored as a hash, so that a copy of Redis opens no stream, and
it is in no log: the query string of a request is never logged.
"""

import hashlib
import secrets

import msgspec
from redis.exceptions import RedisError

from .errors import Unavailable
from .redis import cache_redis

TTL_SECONDS = 30
_KEY = "stream-ticket:"


class TicketHolder(msgspec.Struct):
    """The token that a ticket was issued for."""

    sub: str
    issued_at: float
    expires_at: float  # of the token, and of the stream


def issue(holder: TicketHolder) -> str:
    """Store and return a new ticket, valid for TTL_SECONDS and one stream. Raises Unavailable."""
    ticket = secrets.token_urlsafe(32)
    try:
        cache_redis().set(_key(ticket), msgspec.json.encode(holder), ex=TTL_SECONDS)
    except RedisError as error:
        raise Unavailable("The cache") from error
    return ticket


def redeem(ticket: str) -> TicketHolder | None:
    """Return the holder of a ticket and invalidate it; None for an unknown, used or expired one. Raises Unavailable."""
    try:
        held = cache_redis().getdel(_key(ticket))
    except RedisError as error:
        raise Unavailable("The cache") from error
    return msgspec.json.decode(held, type=TicketHolder) if isinstance(held, bytes) else None


def _key(ticket: str) -> str:
    return _KEY + hashlib.sha256(ticket.encode()).hexdigest()
