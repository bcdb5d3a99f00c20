"""One Redis subscription for all streams of the process; it wakes the streams of users with new notifications."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from core.log import get_logger
from core.redis import cache_redis
from models.errors import Unavailable
from models.notification_inbox import NEW_NOTIFICATION_CHANNEL

log = get_logger(__name__)

MAX_STREAMS_PER_USER = 20  # open tabs and devices of one user
MAX_STREAMS = 2000  # per process; each costs a greenlet and a socket
_QUIET_SECONDS = 5.0  # without a message for this long, the connection is checked
_PAUSE_SECONDS = 1.0  # before the subscription is retried


class StreamSubscriber(threading.Event):
    """Event of one stream, set when its user may have new notifications."""

    is_replaced = False  # True: replaced by newer streams of the same user


class SubscriptionHub:
    """The open streams by user, oldest first."""

    def __init__(self) -> None:
        self._streams: dict[str, list[StreamSubscriber]] = {}

    @contextmanager
    def subscribe(self, user_id: str) -> Iterator[StreamSubscriber]:
        """Register a stream of the user for the duration of the context. Raises Unavailable above MAX_STREAMS.

        Above MAX_STREAMS_PER_USER the user's oldest stream is ended: most likely its client has disconnected, which is
        detected only at the next write, up to a heartbeat later.
        """
        if sum(map(len, self._streams.values())) >= MAX_STREAMS:
            raise Unavailable("The stream")
        own = self._streams.setdefault(user_id, [])
        subscriber = StreamSubscriber()
        own.append(subscriber)
        if len(own) > MAX_STREAMS_PER_USER:
            oldest = own.pop(0)
            oldest.is_replaced = True
            oldest.set()
        try:
            yield subscriber
        finally:
            if subscriber in own:
                own.remove(subscriber)
            if not own:
                self._streams.pop(user_id, None)

    def run(self) -> None:
        """Wake streams when notifications are announced. Never returns; reconnects after errors of Redis."""
        while True:
            try:
                self._run()
            except RedisError as error:
                log.warning("announcement subscription failed", reason=str(error))
                time.sleep(_PAUSE_SECONDS)

    def _run(self) -> None:
        with cache_redis().pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(NEW_NOTIFICATION_CHANNEL)
            # Announcements before the subscription were missed: wake all streams.
            for user_id in list(self._streams):
                self._notify(user_id)
            while True:
                if message := subscription.get_message(timeout=_QUIET_SECONDS):
                    self._notify(message["data"].decode())

    def _notify(self, user_id: str) -> None:
        for subscriber in self._streams.get(user_id, ()):
            subscriber.set()
