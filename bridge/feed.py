"""Past events, given to one handler as the topics gave them: a key's one after another, different keys in parallel."""

import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, Text, cast, select

from models.base import sessions
from models.outbox import OutboxEvent

from . import kafka
from .dispatch import Dispatcher
from .lanes import Lanes, Record
from .relay import headers_of

AT_ONCE = 100  # events under way; the workers are the slow part
PAGE = 500
_NO_PARTITION = -1  # they come from the outbox, and their offset is its seq

_EVENTS = select(
    OutboxEvent.seq,
    OutboxEvent.id,
    OutboxEvent.aggregatetype,
    OutboxEvent.aggregateid,
    OutboxEvent.aggregate_version,
    OutboxEvent.type,
    cast(OutboxEvent.payload, Text).label("payload"),
    OutboxEvent.headers,
    OutboxEvent.created_at,
)


def past_events(service: str, *conditions: ColumnElement[bool]) -> Iterator[Record]:
    """The events that ``service`` has told, in their order, as records that no topic holds."""
    after = 0
    while True:
        wanted = _EVENTS.where(OutboxEvent.aggregatetype == service, OutboxEvent.seq > after, *conditions)
        with sessions(service).begin() as session:
            rows = session.execute(wanted.order_by(OutboxEvent.seq).limit(PAGE)).all()
        if not rows:
            return
        yield from map(_record, rows)
        after = rows[-1].seq


def told_since(since: datetime | None) -> list[ColumnElement[bool]]:
    return [] if since is None else [OutboxEvent.created_at >= since]


def feed(dispatcher: Dispatcher, handler: str, records: Iterable[Record]) -> int:
    """Have ``handler`` take ``records``; returns how many there were, when each has been done or buried."""
    return _Feed(dispatcher, handler).run(records)


class _Feed:
    def __init__(self, dispatcher: Dispatcher, handler: str) -> None:
        self._dispatcher = dispatcher
        self._handler = handler
        self._changed = threading.Condition()
        self._lanes = Lanes()

    def run(self, records: Iterable[Record]) -> int:
        count = 0
        for record in records:
            with self._changed:
                self._changed.wait_for(lambda: len(self._lanes) < AT_ONCE)
                may_start = self._lanes.add(record)
            if may_start:
                self._start(record)
            count += 1
        with self._changed:
            self._changed.wait_for(lambda: not len(self._lanes))
        return count

    def _start(self, record: Record) -> None:
        self._dispatcher.dispatch(self._handler, record, lambda: self._done(record))

    def _done(self, record: Record) -> None:
        with self._changed:
            following = self._lanes.finish(record)
            self._lanes.storable()  # forgets what is done
            self._changed.notify_all()
        if following:
            self._start(following)


def _record(row: Row[Any]) -> Record:
    topic = kafka.topic_of(row.aggregatetype)
    payload = msgspec.Raw(row.payload.encode())
    return Record(topic, _NO_PARTITION, row.seq, row.aggregateid, dict(headers_of(row)), payload)
