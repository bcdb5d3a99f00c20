"""Read the newest events of partitions whose consumer is far behind, so that new events do not wait for old ones.

A consumer that reads a topic from the beginning needs a minute for a million events. A second Kafka client reads the
end of such a partition. A new event from there may be handled before the old ones are read if the outbox shows that its
service has handled all earlier events of its key. All other events are left to the consumer. When the consumer reaches
an event that was handled here, the inbox identifies it as handled.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from sqlalchemy import or_, select
from sqlalchemy.exc import DBAPIError

from bridge import kafka
from bridge.record import Partition, Record
from core.bus.outbox import OutboxEvent, is_redeliverable
from core.db import session_factory, utc_now
from core.log import get_logger

from .arrival import Arrival
from .handled_events import HandlerEvent, find_unhandled

log = get_logger(__name__)

FAR_BEHIND = 1000  # messages between the consumer and the end of the partition
BATCH = 500
WAITING_BYTES = (
    8 * 2**20
)  # of the events that wait for an earlier one of their key; above it, the first ones are dropped

HandlersOf = Callable[[str], list[str]]  # the handlers of an event type in the service
Lane = tuple[Partition, str]  # the events of one key in a partition


class RecentEvents:
    """The events at the ends of the partitions that the consumer of one service is far behind in. Not thread-safe.

    An event is read here once. One that may not start yet is kept, and tried again when an earlier event of its key
    ends, because the consumer may reach it much later.
    """

    def __init__(self, service: str, handlers_of: HandlersOf) -> None:
        self._service = service
        self._handlers_of = handlers_of
        self._consumer: Consumer | None = None
        self._positions: dict[Partition, int] = {}  # the offset after the last message that was read here
        self._waiting: dict[str, Arrival] = {}  # by event id, in the order of reading
        self._waiting_bytes = 0
        self._lookup_failed = False

    @property
    def is_reading(self) -> bool:
        return bool(self._positions)

    @property
    def has_waiting(self) -> bool:
        """Return whether an event that was read here waits for an earlier one of its key."""
        return bool(self._waiting)

    def follow(
        self, positions: Mapping[Partition, int], ends: Mapping[Partition, int], paused: Collection[Partition]
    ) -> None:
        """Read the partitions whose consumer, at ``positions``, is paused or far behind the known ``ends``.

        The end of a paused partition is not known, because the consumer learns it by fetching. Other partitions are
        dropped when the consumer has read what was read here, or is no longer assigned to them.
        """
        behind = {
            name for name, position in positions.items() if name in paused or ends.get(name, 0) - position > FAR_BEHIND
        }
        read = {name for name, end in self._positions.items() if positions.get(name, end) >= end}
        self.drop(read - behind)
        added = {name: max(ends.get(name, 0) - FAR_BEHIND, positions[name]) for name in behind - set(self._positions)}
        self._positions |= added
        if self._positions and self._consumer is None:  # also after an error: read on where it happened
            self._consumer, added = kafka.tail_reader(self._service), self._positions
        if added and self._consumer:
            self._consumer.incremental_assign([TopicPartition(*name, offset) for name, offset in added.items()])
            log.info("reading new events first", service=self._service, partitions=len(self._positions))
        for arrival in [each for each in self._waiting.values() if each.offset < positions[each.partition]]:
            self._forget(arrival)  # the consumer has read it

    def drop(self, partitions: Collection[Partition]) -> None:
        """Stop reading ``partitions``."""
        dropped = [name for name in partitions if self._positions.pop(name, None) is not None]
        if not self._positions:
            self.close()
        elif dropped and self._consumer:
            self._consumer.incremental_unassign([TopicPartition(*name) for name in dropped])
        for arrival in [each for each in self._waiting.values() if each.partition not in self._positions]:
            self._forget(arrival)

    def close(self) -> None:
        """Stop reading all partitions."""
        self._positions.clear()
        self._waiting.clear()
        self._waiting_bytes = 0
        self._close_consumer()

    def poll(self, ended: Collection[Lane]) -> list[Arrival]:
        """Return the new events that are available, after those that waited for an event of the ``ended`` lanes."""
        if not self._consumer:
            return []
        try:
            messages = self._consumer.consume(num_messages=BATCH, timeout=0)
        except KafkaException as error:  # ``follow`` opens another client
            log.warning("new events not read", service=self._service, reason=str(error))
            self._close_consumer()
            messages = []
        arrivals = [Arrival(message) for message in messages if not message.error()]
        arrivals = [arrival for arrival in arrivals if arrival.partition in self._positions]
        self._positions |= {arrival.partition: arrival.offset + 1 for arrival in arrivals}
        retried = [
            each for each in self._waiting.values() if self._lookup_failed or (each.partition, each.key) in ended
        ]
        new = [each for each in arrivals if each.is_event and self._handlers_of(each.type) and each.is_fresh]
        return retried + new

    def may_start(self, arrivals: Iterable[Arrival], held: Collection[str]) -> list[Record]:
        """Return the events of ``arrivals`` that are not handled, while all earlier events of their key are.

        ``held`` are the ids of events that were returned before and are not handled yet: events of a key follow them.
        Unhandled events behind others are kept for the next ``poll``; so are all while the database does not answer.
        """
        unread = {arrival.event_id: arrival for arrival in arrivals}
        try:
            earlier = self._earlier_events(unread.values())
            unhandled = self._find_unhandled(unread.values(), earlier)
        except DBAPIError as error:
            log.warning("earlier events not found", service=self._service, reason=str(error))
            self._lookup_failed = True
            self._keep(unread.values())
            return []
        self._lookup_failed = False
        unhandled_ids = {event_id for _, event_id in unhandled}
        started, accepted = set(held), list[Record]()
        for event_id, arrival in unread.items():
            self._forget(arrival)
            if event_id in started or event_id not in unhandled_ids or not arrival.sequence:
                continue
            before = {id_ for id_, version, _ in earlier[_key_of(arrival)] if version < arrival.sequence}
            if not before & unhandled_ids <= started:
                self._keep([arrival])
            elif record := arrival.record():
                accepted.append(record)
                started.add(event_id)
        return accepted

    def _keep(self, arrivals: Iterable[Arrival]) -> None:
        """Keep ``arrivals`` for a later ``poll``: the last WAITING_BYTES. The others wait for the consumer."""
        for arrival in arrivals:
            if arrival.event_id not in self._waiting:
                self._waiting[arrival.event_id] = arrival
                self._waiting_bytes += arrival.size
        while self._waiting_bytes > WAITING_BYTES:
            self._forget(next(iter(self._waiting.values())))

    def _forget(self, arrival: Arrival) -> None:
        if kept := self._waiting.pop(arrival.event_id, None):
            self._waiting_bytes -= kept.size

    def _close_consumer(self) -> None:
        if self._consumer:
            self._consumer.close()
            self._consumer = None

    def _earlier_events(self, arrivals: Iterable[Arrival]) -> "_Earlier":
        """Return the events with the keys of ``arrivals`` that this service has handlers for."""
        keys: dict[str, set[str]] = defaultdict(set)
        for arrival in arrivals:
            producer, key = _key_of(arrival)
            keys[producer].add(key)
        found: _Earlier = defaultdict(list)
        columns = (OutboxEvent.id, OutboxEvent.type, OutboxEvent.aggregateid, OutboxEvent.aggregate_version)
        # Older events may have lost their inbox row. Events that were just published may not be marked yet.
        recent = or_(OutboxEvent.published_at.is_(None), is_redeliverable(utc_now()))
        for producer, wanted in keys.items():
            query = select(*columns).where(OutboxEvent.aggregatetype == producer, OutboxEvent.aggregateid.in_(wanted))
            with session_factory(producer).begin() as session:
                for id_, type_, key, version in session.execute(query.where(recent)):
                    if self._handlers_of(type_):
                        found[producer, key].append((str(id_), version, type_))
        return found

    def _find_unhandled(self, arrivals: Iterable[Arrival], earlier: "_Earlier") -> set[HandlerEvent]:
        types = {arrival.event_id: arrival.type for arrival in arrivals}
        types |= {id_: type_ for events in earlier.values() for id_, _, type_ in events}
        wanted: dict[str, list[str]] = defaultdict(list)
        for event_id, type_ in types.items():
            for handler in self._handlers_of(type_):
                wanted[handler].append(event_id)
        return find_unhandled(self._service, wanted)


_Earlier = dict[tuple[str, str], list[tuple[str, int, str]]]  # (id, version, type) by producer and key


def _key_of(arrival: Arrival) -> tuple[str, str]:
    return kafka.service_of(arrival.partition[0]), arrival.key


def ends_of(consumer: Consumer, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """Return the ends of ``partitions`` as the last fetch of ``consumer`` reported them, without a request."""
    ends = {}
    for name in partitions:
        watermarks: Any = consumer.get_watermark_offsets(TopicPartition(*name), cached=True)
        ends[name] = max(watermarks[1], 0) if watermarks else 0
    return ends
