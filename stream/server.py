"""The server of the streams: who may listen, what they are sent, and until when."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import msgspec
from flask import Flask, Response, request
from gevent.pywsgi import WSGIServer

import settings
from api.auth import liveness, me, requires
from api.shell import app_shell
from models import log, metrics
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
        user_id, expires_at = str(me().id), me().claims.expires_at
        with ExitStack() as stack:
            listener = stack.enter_context(hub.joined(user_id))  # first: what comes from now on is heard
            asked = _last_event_id()
            position = feed.end(user_id) if asked is None else asked
            events = _events(feed, listener, user_id, position, expires_at)
            response = Response(events, content_type="text/event-stream", headers=_HEADERS)
            stack.enter_context(STREAMS.track_inprogress())
            response.call_on_close(stack.pop_all().close)
            return response

    @app.get("/livez")
    @liveness
    def livez() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _events(feed: Feed, listener: Listener, user_id: str, position: int, expires_at: float) -> Iterator[bytes]:
    """The notes after ``position`` as they come, and a sign of life where none does; until the token has expired.

    Every sign of life comes with a look at the feed: an announcement that was lost delays a note by that at most.
    """
    reason = "gone"  # where the client leaves, we are not asked to go on
    try:
        yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        while time.time() < expires_at and not listener.ended:
            listener.clear()
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
