"""The HTTP server of the notification stream: authentication, events, and the end of a stream."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import UUID

import gevent
import msgspec
from flask import Flask, Response, request
from gevent.pywsgi import WSGIServer
from redis.exceptions import RedisError

import settings
from api.auth import current_caller, liveness, require_auth
from api.base_app import create_base_app
from api.tokens import Claims
from core import cache, health, log
from core.metrics import STREAM_NOTIFICATIONS, STREAMS, STREAMS_ENDED
from core.redis import queue_redis
from models.accounts import AccountState
from models.errors import LastEventIdInvalid, Unavailable
from settings.checks import validate_production_settings

from .hub import StreamSubscriber, SubscriptionHub
from .inbox_reader import InboxReader

PATH = "/v1/me/notifications/stream"
HEARTBEAT_SECONDS = 15  # proxies close idle connections, often after 30 seconds
RETRY_MILLISECONDS = 2000  # delay before a client reconnects
_MAX_POSITION = 2**63 - 1
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx must not buffer the stream

logger = log.get_logger(__name__)


def create_app(hub: SubscriptionHub, inbox: InboxReader) -> Flask:
    """Return the WSGI application, with the gateway's authentication and error handling."""
    app = create_base_app(__name__)

    @app.get(PATH)
    @require_auth(accepts_ticket=True)
    def stream() -> Response:
        user_id = current_caller().id
        with ExitStack() as stack:
            subscriber = stack.enter_context(hub.subscribe(str(user_id)))  # before the position is read: misses nothing
            asked = _last_event_id()
            position = inbox.latest_position(user_id) if asked is None else asked
            events = _events(inbox, subscriber, user_id, position, current_caller().claims)
            response = Response(events, content_type="text/event-stream", headers=_HEADERS)
            stack.enter_context(STREAMS.track_inprogress())
            response.call_on_close(stack.pop_all().close)
            return response

    @app.get("/livez")
    @liveness
    def livez() -> dict[str, str]:
        return {"status": "ok", "version": settings.COURSEBUS_VERSION}

    return app


def _events(
    inbox: InboxReader, subscriber: StreamSubscriber, user_id: UUID, position: int, claims: Claims
) -> Iterator[bytes]:
    """Yield the notifications after ``position`` as they arrive, and a heartbeat if there is none.

    The stream ends when the token expires, and within a heartbeat after the account was erased or blocked. The inbox is
    read after each heartbeat, so a lost announcement delays a notification by HEARTBEAT_SECONDS at most.
    """
    reason = "disconnected"  # if the client disconnects, the generator is closed and never reaches another reason
    try:
        yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        while time.time() < claims.expires_at and not subscriber.is_replaced:
            subscriber.clear()
            if _is_closed(user_id, claims.sub):
                reason = "account_closed"
                return
            notifications = inbox.list_after(user_id, position)
            for place, notification in notifications:
                yield b"id: %d\nevent: notification\ndata: %s\n\n" % (place, msgspec.json.encode(notification))
                STREAM_NOTIFICATIONS.inc()
                position = place
            if not notifications and not subscriber.wait(HEARTBEAT_SECONDS):
                yield b": heartbeat\n\n"
        reason = "replaced" if subscriber.is_replaced else "expired"
    except Unavailable as error:  # the client reconnects with Last-Event-ID
        reason = "unavailable"
        logger.warning("stream ended", reason=str(error))
    finally:
        STREAMS_ENDED.labels(reason).inc()


def _is_closed(user_id: UUID, sub: str) -> bool:
    """Return whether the account was erased or blocked, according to the cache; False if Redis does not answer.

    Erasure is read by user id from the profile, because the same ``sub`` may belong to a new account now.
    """
    try:
        erased = cache.get_latest_version(cache.profile_key(user_id)) == cache.ERASED_VERSION
        account = cache.get(cache.identity_key(sub))
    except RedisError:
        return False
    return erased or (account is not None and AccountState.decode(account.body).blocked)


def _last_event_id() -> int | None:
    """Return the position in the Last-Event-ID header or in the query, or None. Raises LastEventIdInvalid."""
    text = request.headers.get("Last-Event-ID") or request.args.get("last_event_id", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < len(str(_MAX_POSITION))):
        raise LastEventIdInvalid
    return int(text)


def main() -> None:
    """Serve until SIGTERM or SIGINT; clients reconnect automatically to the next process."""
    validate_production_settings("stream")
    log.configure("stream")
    hub, inbox = SubscriptionHub(), InboxReader()
    health.serve(readiness={"queue": lambda: queue_redis().ping(), "mongo": inbox.ping})
    gevent.spawn(hub.run)
    server = WSGIServer(settings.STREAM_BIND, create_app(hub, inbox), log=None)
    for each in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(each, server.stop, 1)  # with one second to finish open responses
    logger.info("listening", address=settings.STREAM_BIND)
    server.serve_forever()
    inbox.close()
