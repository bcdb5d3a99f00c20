"""The server of the streams: who may listen, what they are sent, and until when."""

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

HEARTBEAT_SECONDS = 15  # proxies close what is silent for longer, often after 30
RETRY_MILLISECONDS = 2000  # after which a client that lost its stream comes back
_GREATEST_POSITION = 2**63 - 1
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # no proxy is to collect what it passes on

logger = log.get_logger(__name__)


def create_app(hub: Hub, feed: Feed) -> Flask:
    """The WSGI application, with the gateway's own manners."""
    app = app_shell(__name__)

    @app.get("/v1/me/notifications/stream")
    @requires()
    def stream() -> Response:
        user_id = str(me().id)
        with ExitStack() as stack:
            listener = stack.enter_context(hub.joined(user_id))  # first: what comes from now on is heard
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
    """The notes after ``position`` as they come, and a sign of life where none does.

    The stream ends when the token has expired, and within a heartbeat after the account was erased or blocked.
    Every sign of life comes with a look at the feed: an announcement that was lost delays a note by that at most.
    """
    reason = "gone"  # where the client leaves, we are not asked to go on
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
    except Unavailable as error:  # the client comes back, and says where it was
        reason = "unavailable"
        logger.warning("stream ended", reason=str(error))
    finally:
        STREAMS_ENDED.labels(reason).inc()


def _is_closed(user_id: str, sub: str) -> bool:
    """Whether the cache says that the account was erased or blocked. A cache that does not answer says nothing.

    The erasure is read from the profile: the same ``sub`` may belong to a new account since.
    """
    try:
        erased = cache.get_version_of_change(cache.profile_key(user_id)) == cache.ERASED
        account = cache.get(cache.identity_key(sub))
    except RedisError:
        return False
    return erased or (account is not None and AccountState.decode(account.body).blocked)


def _last_event_id() -> int | None:
    """Where the client was. Raises LastEventIdInvalid."""
    text = request.headers.get("Last-Event-ID", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < len(str(_GREATEST_POSITION))):
        raise LastEventIdInvalid
    return int(text)


def main() -> None:
    """Serve until told to end; clients come back to the next process by themselves."""
    settings.refuse_unsafe_production()
    log.configure("stream")
    metrics.serve()
    hub = Hub()
    gevent.spawn(hub.listen)
    server = WSGIServer(settings.STREAM_BIND, create_app(hub, Feed()), log=None)
    for each in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(each, server.stop, 1)  # a second for what is being said
    logger.info("listening", address=settings.STREAM_BIND)
    server.serve_forever()
