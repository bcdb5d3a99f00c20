"""Redeliver past events from the outbox to one handler: in order within a key, in parallel across keys."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, or_

from models.base import now, sessions
from models.outbox import OutboxEvent, may_be_repeated

from . import kafka
from .dispatch import Dispatcher
from .known import known_to
from .lanes import Lanes, Record
from .rows import EVENTS, headers_of

AT_ONCE = 100  # events in flight; the workers are the bottleneck
PAGE = 500
_LOOK_SECONDS = 0.5
_NO_PARTITION = -1  # the records come from the outbox; their offset is its ``seq``


def past_events(service: str, *conditions: ColumnElement[bool]) -> Iterator[Record]:
    """Yield the events that ``service`` published, ordered by ``seq``, as records.

    Skips events whose inbox rows may have been pruned, because handlers could process them twice.
    """
    after = 0
    may_be_handed_over = or_(OutboxEvent.published_at.is_(None), may_be_repeated(now()))
    while True:
        wanted = EVENTS.where(
            OutboxEvent.aggregatetype == service, OutboxEvent.seq > after, may_be_handed_over, *conditions
        )
        with sessions(service).begin() as session:
            rows = session.execute(wanted.order_by(OutboxEvent.seq).limit(PAGE)).all()
        if not rows:
            return
        yield from map(_record, rows)
        after = rows[-1].seq


def told_since(since: datetime | None) -> list[ColumnElement[bool]]:
    return [] if since is None else [OutboxEvent.created_at >= since]


def feed(dispatcher: Dispatcher, handler: str, records: Iterable[Record]) -> int:
    """Redeliver ``records`` to ``handler``; return their number after each is handled or dead-lettered.

    Raises DispatcherEnded.
    """
    run = _Feed(dispatcher, handler, until=None)
    count = run.take(records)
    run.wait()
    return count


def feed_until(until: float, dispatcher: Dispatcher, handler: str, records: Iterable[Record]) -> bool:
    """Like ``feed``, but return at ``until`` (monotonic) at the latest.

    Returns whether all records are handled or dead-lettered. Records in flight at ``until`` continue; a second call
    with the same records is safe, because the dispatcher does not send a pending event twice.
    """
    run = _Feed(dispatcher, handler, until=until)
    try:
        run.take(records)
        run.wait()
    except TimeoutError:
        return False
    return True


class DispatcherEnded(Exception):
    """The dispatcher's thread has ended, so pending events will not be answered."""


class _Feed:
    def __init__(self, dispatcher: Dispatcher, handler: str, *, until: float | None) -> None:
        self._dispatcher = dispatcher
        self._handler = handler
        self._until = until
        self._changed = threading.Condition()
        self._lanes = Lanes()

    def take(self, records: Iterable[Record]) -> int:
        """Dispatch the records that were not handled before, AT_ONCE in flight; return the number of all records.

        Raises TimeoutError and DispatcherEnded.
        """
        count, coming = 0, iter(records)
        while page := list(itertools.islice(coming, PAGE)):
            count += len(page)
            known = known_to(self._handler.partition(".")[0], [(self._handler, each.event_id) for each in page])
            for record in page:
                if (self._handler, record.event_id) not in known:
                    self._give(record)
        return count

    def wait(self) -> None:
        """Wait until all dispatched records are finished. Raises TimeoutError and DispatcherEnded."""
        with self._changed:
            self._wait_for(lambda: not len(self._lanes))

    def _give(self, record: Record) -> None:
        with self._changed:
            self._wait_for(lambda: len(self._lanes) < AT_ONCE)
            may_start = self._lanes.add(record)
        if may_start:
            self._start(record)

    def _wait_for(self, ready: Callable[[], bool]) -> None:
        while not self._changed.wait_for(ready, _LOOK_SECONDS):
            if self._until is not None and time.monotonic() >= self._until:
                raise TimeoutError
            if not self._dispatcher.is_alive():
                raise DispatcherEnded

    def _start(self, record: Record) -> None:
        self._dispatcher.dispatch(self._handler, record, lambda: self._done(record))

    def _done(self, record: Record) -> None:
        with self._changed:
            following = self._lanes.finish(record)
            self._changed.notify_all()
        if following:
            self._start(following)


def _record(row: Row[Any]) -> Record:
    topic = kafka.topic_of(row.aggregatetype)
    payload = msgspec.Raw(row.payload.encode())
    return Record(topic, _NO_PARTITION, row.seq, row.aggregateid, dict(headers_of(row)), payload)
