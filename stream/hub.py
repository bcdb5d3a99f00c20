"""One Redis subscription for all streams of the process; it wakes the streams of users with new notifications."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from models.errors import Unavailable
from models.feed import ANNOUNCED
from models.log import get_logger
from models.redis import cache_redis

log = get_logger(__name__)

STREAMS_PER_USER = 20  # open tabs and devices of one user
STREAMS = 2000  # per process; each costs a greenlet and a socket
_QUIET_SECONDS = 5.0  # without a message for this long, the connection is checked
_PAUSE_SECONDS = 1.0  # before the subscription is retried


class Listener(threading.Event):
    """Event of one stream, set when its user may have new notifications."""

    ended = False  # True: replaced by newer streams of the same user


class Hub:
    """The open streams by user, oldest first."""

    def __init__(self) -> None:
        self._streams: dict[str, list[Listener]] = {}

    @contextmanager
    def joined(self, user_id: str) -> Iterator[Listener]:
        """Register a stream of the user for the duration of the context. Raises Unavailable above STREAMS.

        Above STREAMS_PER_USER the user's oldest stream is ended: most likely its client has disconnected, which is
        detected only at the next write, up to a heartbeat later.
        """
        if sum(map(len, self._streams.values())) >= STREAMS:
            raise Unavailable("The stream")
        mine = self._streams.setdefault(user_id, [])
        listener = Listener()
        mine.append(listener)
        if len(mine) > STREAMS_PER_USER:
            oldest = mine.pop(0)
            oldest.ended = True
            oldest.set()
        try:
            yield listener
        finally:
            if listener in mine:
                mine.remove(listener)
            if not mine:
                self._streams.pop(user_id, None)

    def listen(self) -> None:
        """Wake streams when notifications are announced. Never returns; reconnects after errors of Redis."""
        while True:
            try:
                self._listen()
            except RedisError as error:
                log.warning("announcements are not heard", reason=str(error))
                time.sleep(_PAUSE_SECONDS)

    def _listen(self) -> None:
        with cache_redis().pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(ANNOUNCED)
            # Announcements before the subscription were missed: wake all streams.
            for user_id in list(self._streams):
                self._wake(user_id)
            while True:
                if heard := subscription.get_message(timeout=_QUIET_SECONDS):
                    self._wake(heard["data"].decode())

    def _wake(self, user_id: str) -> None:
        for listener in self._streams.get(user_id, ()):
            listener.set()
