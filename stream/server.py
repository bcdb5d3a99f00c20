"""The HTTP server of the notification stream: authentication, events, and the end of a stream."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import msgspec
from flask import Flask, Response, request
from gevent.pywsgi import WSGIServer
from redis.exceptions import RedisError

import settings
from api.auth import liveness, me, requires
from api.shell import app_shell
from api.tokens import Claims
from models import cache, log, metrics
from models.accounts import AccountState
from models.errors import LastEventIdInvalid, Unavailable
from models.metrics import STREAM_NOTES, STREAMS, STREAMS_ENDED

from .feed import Feed
from .hub import Hub, Listener

HEARTBEAT_SECONDS = 15  # proxies close idle connections, often after 30 seconds
RETRY_MILLISECONDS = 2000  # delay before a client reconnects
_GREATEST_POSITION = 2**63 - 1
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx must not buffer the stream

logger = log.get_logger(__name__)


def create_app(hub: Hub, feed: Feed) -> Flask:
    """Return the WSGI application, with the gateway's authentication and error handling."""
    app = app_shell(__name__)

    @app.get("/v1/me/notifications/stream")
    @requires()
    def stream() -> Response:
        user_id = str(me().id)
        with ExitStack() as stack:
            listener = stack.enter_context(hub.joined(user_id))  # before the position is read: misses nothing
            asked = _last_event_id()
            position = feed.end(user_id) if asked is None else asked
            events = _events(feed, listener, user_id, position, me().claims)
            response = Response(events, content_type="text/event-stream", headers=_HEADERS)
            stack.enter_context(STREAMS.track_inprogress())
            response.call_on_close(stack.pop_all().close)
            return response

    @app.get("/livez")
    @liveness
    def livez() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _events(feed: Feed, listener: Listener, user_id: str, position: int, claims: Claims) -> Iterator[bytes]:
    """Yield the notifications after ``position`` as they arrive, and a heartbeat if there is none.

    The stream ends when the token expires, and within a heartbeat after the account was erased or blocked. The inbox is
    read after each heartbeat, so a lost announcement delays a notification by HEARTBEAT_SECONDS at most.
    """
    reason = "gone"  # if the client disconnects, the generator is closed and never reaches another reason
    try:
        yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        while time.time() < claims.expires_at and not listener.ended:
            listener.clear()
            if _is_closed(user_id, claims.sub):
                reason = "account_closed"
                return
            notes = feed.after(user_id, position)
            for place, note in notes:
                yield b"id: %d\nevent: notification\ndata: %s\n\n" % (place, msgspec.json.encode(note))
                STREAM_NOTES.inc()
                position = place
            if not notes and not listener.wait(HEARTBEAT_SECONDS):
                yield b": still here\n\n"
        reason = "replaced" if listener.ended else "expired"
    except Unavailable as error:  # the client reconnects with Last-Event-ID
        reason = "unavailable"
        logger.warning("stream ended", reason=str(error))
    finally:
        STREAMS_ENDED.labels(reason).inc()


def _is_closed(user_id: str, sub: str) -> bool:
    """Return whether the account was erased or blocked, according to the cache; False if Redis does not answer.

    Erasure is read by user id from the profile, because the same ``sub`` may belong to a new account now.
    """
    try:
        erased = cache.get_version_of_change(cache.profile_key(user_id)) == cache.ERASED
        account = cache.get(cache.identity_key(sub))
    except RedisError:
        return False
    return erased or (account is not None and AccountState.decode(account.body).blocked)


def _last_event_id() -> int | None:
    """Return the position in the Last-Event-ID header, or None. Raises LastEventIdInvalid."""
    text = request.headers.get("Last-Event-ID", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < len(str(_GREATEST_POSITION))):
        raise LastEventIdInvalid
    return int(text)


def main() -> None:
    """Serve until SIGTERM or SIGINT; clients reconnect automatically to the next process."""
    settings.refuse_unsafe_production()
    log.configure("stream")
    metrics.serve()
    hub = Hub()
    gevent.spawn(hub.listen)
    server = WSGIServer(settings.STREAM_BIND, create_app(hub, Feed()), log=None)
    for each in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(each, server.stop, 1)  # with one second to finish open responses
    logger.info("listening", address=settings.STREAM_BIND)
    server.serve_forever()
