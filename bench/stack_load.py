"""Observe a running stack from outside: CPU time by process, the oldest unhandled event, the end of all work."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
import psycopg2
from pymongo import MongoClient
from redis import Redis

from bench.at_rest import families
from models.events.routes import ROUTES
from ops.dev.stack import Stack
from settings import SERVICES

_DRAIN_SECONDS = 600
# Reads only the events after ``since``, so that the observation costs little.
_OLDEST_UNHANDLED = """
    SELECT coalesce(min(seq), (SELECT coalesce(max(seq), 0) + 1 FROM bus.outbox)),
        coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
    FROM bus.outbox JOIN jsonb_each(%(routes)s) AS routes (type, handlers) USING (type)
    CROSS JOIN jsonb_array_elements_text(handlers) AS handler (name)
    WHERE seq >= %(since)s
    AND NOT EXISTS (SELECT FROM bus.inbox WHERE inbox.event_id = outbox.id AND inbox.handler = handler.name)
"""


class StackLoad:
    """The load of a local stack with an embedded PostgreSQL and MongoDB."""

    def __init__(self, stack: Stack) -> None:
        self.ages: list[float] = []  # seconds: age of the oldest unhandled event, one sample a second
        self._stack = stack
        self._database = psycopg2.connect(
            host="127.0.0.1", port=stack.port("postgres"), user="coursebus", dbname="coursebus"
        )
        self._database.autocommit = True
        self._queues = Redis(port=stack.port("queue"))
        mongo: MongoClient[dict[str, object]] = MongoClient(f"mongodb://127.0.0.1:{stack.port('mongo')}")
        self._notifications = mongo["coursebus"]["notifications"]
        self._since = 0  # the first event that may be unhandled

    def cpu_seconds(self) -> dict[str, float]:
        """Return the user and system time of each process of the stack with its children, ended ones included."""
        return {name: sum(map(_cpu_seconds, family)) for name, family in families(self._stack).items()}

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Sample the age of the oldest unhandled event while the block runs."""
        stop = threading.Event()

        def sample() -> None:
            while not stop.wait(1):
                self.ages.append(self._oldest_age())

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def wait_until_idle(self) -> float:
        """Return the seconds until every event is handled, every queue empty and every due notification sent."""
        began = time.monotonic()
        while self._oldest_age() or self._messages() or self._due_notifications():
            if time.monotonic() > began + _DRAIN_SECONDS:
                raise TimeoutError(f"The queues are not empty after {_DRAIN_SECONDS} s.")
            time.sleep(0.5)
        return time.monotonic() - began

    def close(self) -> None:
        """Close the connections."""
        self._database.close()
        self._queues.close()
        self._notifications.database.client.close()

    def _oldest_age(self) -> float:
        with closing(self._database.cursor()) as cursor:
            cursor.execute(_OLDEST_UNHANDLED, {"routes": json.dumps(ROUTES), "since": self._since})
            [(self._since, age)] = cursor.fetchall()
        return float(age)

    def _messages(self) -> int:
        return sum(self._queues.llen(service) for service in SERVICES) + int(self._queues.hlen("unacked"))

    def _due_notifications(self) -> int:
        return self._notifications.count_documents({"state": {"$in": ["queued", "sending"]}})


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))  # user, system, and both of its children that have ended
    except psutil.NoSuchProcess:
        return 0.0
