"""Redeliver past events from the outbox to one handler: in order within a key, in parallel across keys."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, or_

from bridge import kafka
from bridge.consumer.dispatch import Dispatcher
from bridge.consumer.handled_events import find_unhandled
from bridge.consumer.key_ordering import KeyOrderedBuffer
from bridge.publisher.outbox_rows import EVENTS, headers_of
from bridge.record import Record
from core.bus.outbox import OutboxEvent, is_redeliverable
from core.db import session_factory, utc_now

MAX_IN_FLIGHT = 100  # events in flight; the workers are the bottleneck
PAGE = 500
_CHECK_SECONDS = 0.5
_NO_PARTITION = -1  # the records come from the outbox; their offset is its ``seq``


def iter_past_events(service: str, *conditions: ColumnElement[bool]) -> Iterator[Record]:
    """Yield the events that ``service`` published, ordered by ``seq``, as records.

    Skips events whose inbox rows may have been pruned, because handlers could process them twice.
    """
    after = 0
    may_be_redelivered = or_(OutboxEvent.published_at.is_(None), is_redeliverable(utc_now()))
    while True:
        wanted = EVENTS.where(
            OutboxEvent.aggregatetype == service, OutboxEvent.seq > after, may_be_redelivered, *conditions
        )
        with session_factory(service).begin() as session:
            rows = session.execute(wanted.order_by(OutboxEvent.seq).limit(PAGE)).all()
        if not rows:
            return
        yield from map(_record, rows)
        after = rows[-1].seq


def created_since(since: datetime | None) -> list[ColumnElement[bool]]:
    return [] if since is None else [OutboxEvent.created_at >= since]


def redeliver(dispatcher: Dispatcher, handler: str, records: Iterable[Record]) -> int:
    """Redeliver ``records`` to ``handler``; return their number after each is handled or dead-lettered.

    Raises DispatcherStopped.
    """
    run = _Redelivery(dispatcher, handler, until=None)
    count = run.submit(records)
    run.wait()
    return count


def redeliver_until(until: float, dispatcher: Dispatcher, handler: str, records: Iterable[Record]) -> bool:
    """Like ``redeliver``, but return at ``until`` (monotonic) at the latest.

    Returns whether all records are handled or dead-lettered. Records in flight at ``until`` continue; a second call
    with the same records is safe, because the dispatcher does not send a pending event twice.
    """
    run = _Redelivery(dispatcher, handler, until=until)
    try:
        run.submit(records)
        run.wait()
    except TimeoutError:
        return False
    return True


class DispatcherStopped(Exception):
    """The dispatcher's thread has ended, so pending events will not be answered."""


class _Redelivery:
    def __init__(self, dispatcher: Dispatcher, handler: str, *, until: float | None) -> None:
        self._dispatcher = dispatcher
        self._handler = handler
        self._until = until
        self._changed = threading.Condition()
        self._buffer = KeyOrderedBuffer()

    def submit(self, records: Iterable[Record]) -> int:
        """Dispatch the records that were not handled before, MAX_IN_FLIGHT in flight; return the number of all records.

        Raises TimeoutError and DispatcherStopped.
        """
        count, coming = 0, iter(records)
        while page := list(itertools.islice(coming, PAGE)):
            count += len(page)
            wanted = {self._handler: [record.event_id for record in page]}
            unhandled = find_unhandled(self._handler.partition(".")[0], wanted)
            for record in page:
                if (self._handler, record.event_id) in unhandled:
                    self._submit_one(record)
        return count

    def wait(self) -> None:
        """Wait until all dispatched records are finished. Raises TimeoutError and DispatcherStopped."""
        with self._changed:
            self._wait_for(lambda: not len(self._buffer))

    def _submit_one(self, record: Record) -> None:
        with self._changed:
            self._wait_for(lambda: len(self._buffer) < MAX_IN_FLIGHT)
            may_start = self._buffer.add(record)
        if may_start:
            self._start(record)
            self._dispatcher.send_ready(self._handler.partition(".")[0])

    def _wait_for(self, ready: Callable[[], bool]) -> None:
        while not self._changed.wait_for(ready, _CHECK_SECONDS):
            if self._until is not None and time.monotonic() >= self._until:
                raise TimeoutError
            if not self._dispatcher.is_alive():
                raise DispatcherStopped

    def _start(self, record: Record) -> None:
        self._dispatcher.dispatch(self._handler, record, lambda: self._on_done(record))

    def _on_done(self, record: Record) -> None:
        with self._changed:
            following = self._buffer.finish(record)
            self._changed.notify_all()
        if following:
            self._start(following)


def _record(row: Row[Any]) -> Record:
    topic = kafka.topic_of(row.aggregatetype)
    payload = msgspec.Raw(row.payload.encode())
    return Record(topic, _NO_PARTITION, row.seq, row.aggregateid, dict(headers_of(row)), payload)
