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

HandlersOf = Callable[[str], list[str]]  # the handlers of an event type in the service


class RecentEvents:
    """The events at the ends of the partitions that the consumer of one service is far behind in. Not thread-safe."""

    def __init__(self, service: str, handlers_of: HandlersOf) -> None:
        self._service = service
        self._handlers_of = handlers_of
        self._consumer: Consumer | None = None
        self._positions: dict[Partition, int] = {}  # the offset after the last message that was read here

    @property
    def is_reading(self) -> bool:
        return self._consumer is not None

    def follow(self, positions: Mapping[Partition, int], ends: Mapping[Partition, int]) -> None:
        """Read the partitions whose consumer, at ``positions``, is far behind the known ``ends``; drop the others.

        A partition is dropped when the consumer has read what was read here, or is no longer assigned to it.
        """
        done = {name for name, read in self._positions.items() if name not in positions or positions[name] >= read}
        behind = {name for name, position in positions.items() if ends.get(name, 0) - position > FAR_BEHIND}
        added = behind - set(self._positions)
        if added:
            self._consumer = self._consumer or kafka.tail_reader(self._service)
            self._consumer.incremental_assign([TopicPartition(*name, ends[name] - FAR_BEHIND) for name in added])
            self._positions |= {name: ends[name] - FAR_BEHIND for name in added}
            log.info("reading new events first", service=self._service, partitions=len(self._positions))
        self.drop(done - added)

    def drop(self, partitions: Collection[Partition]) -> None:
        """Stop reading ``partitions``."""
        dropped = [name for name in partitions if self._positions.pop(name, None) is not None]
        if not self._positions:
            self.close()
        elif dropped and self._consumer:
            self._consumer.incremental_unassign([TopicPartition(*name) for name in dropped])

    def close(self) -> None:
        """Stop reading all partitions."""
        self._positions.clear()
        if self._consumer:
            self._consumer.close()
            self._consumer = None

    def poll(self) -> list[Arrival]:
        """Return the new events that are available; an error of the client ends reading until the next ``follow``."""
        if not self._consumer:
            return []
        try:
            messages = self._consumer.consume(num_messages=BATCH, timeout=0)
        except KafkaException as error:
            log.warning("new events not read", service=self._service, reason=str(error))
            self.close()
            return []
        arrivals = [Arrival(message) for message in messages if not message.error()]
        arrivals = [arrival for arrival in arrivals if arrival.partition in self._positions]
        self._positions |= {arrival.partition: arrival.offset + 1 for arrival in arrivals}
        return [each for each in arrivals if each.is_event and self._handlers_of(each.type) and each.is_fresh]

    def may_start(self, arrivals: Iterable[Arrival], held: Collection[str]) -> list[Record]:
        """Return the events of ``arrivals`` that are not handled, while all earlier events of their key are.

        ``held`` are the ids of events that were returned before and are not handled yet: events of a key follow them.
        """
        unread = {arrival.event_id: arrival for arrival in arrivals}
        try:
            earlier = self._earlier_events(unread.values())
            unhandled = self._find_unhandled(unread.values(), earlier)
        except DBAPIError as error:
            log.warning("earlier events not found", service=self._service, reason=str(error))
            return []
        waiting_ids = {event_id for _, event_id in unhandled}
        started, accepted = set(held), list[Record]()
        for event_id, arrival in unread.items():
            before = {id_ for id_, version, _ in earlier[_key_of(arrival)] if version < arrival.sequence}
            is_next = arrival.sequence > 0 and before & waiting_ids <= started
            if not is_next or event_id in started or event_id not in waiting_ids:
                continue
            if record := arrival.record():
                accepted.append(record)
                started.add(event_id)
        return accepted

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
