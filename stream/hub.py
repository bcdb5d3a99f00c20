"""One Redis subscription for all streams of the process: who has a new note is woken."""

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

STREAMS_PER_USER = 20  # tabs and devices of one person
STREAMS = 2000  # of one process: each is a greenlet and a socket
_QUIET_SECONDS = 5.0  # then the connection is tried
_PAUSE_SECONDS = 1.0  # before Redis is asked again


class Listener(threading.Event):
    """Set whenever its user may have new notes."""

    ended = False  # its user opened others since, and this one is to go


class Hub:
    """The open streams by their users, the oldest first."""

    def __init__(self) -> None:
        self._streams: dict[str, list[Listener]] = {}

    @contextmanager
    def joined(self, user_id: str) -> Iterator[Listener]:
        """A listener of the user's. One too many ends their oldest: most likely nobody has it any more.

        That a client has gone is noticed when it is written to, which may be a heartbeat later. Raises Unavailable.
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
        """Wake streams as notes are announced, for ever."""
        while True:
            try:
                self._listen()
            except RedisError as error:
                log.warning("announcements are not heard", reason=str(error))
                time.sleep(_PAUSE_SECONDS)

    def _listen(self) -> None:
        with cache_redis().pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(ANNOUNCED)
            # What was announced before this moment was not heard.
            for user_id in list(self._streams):
                self._wake(user_id)
            while True:
                if heard := subscription.get_message(timeout=_QUIET_SECONDS):
                    self._wake(heard["data"].decode())

    def _wake(self, user_id: str) -> None:
        for listener in self._streams.get(user_id, ()):
            listener.set()
