"""Consume the events of one service: an offset is stored only after the handlers of all earlier events committed.

Each committed offset carries the topic's id as metadata. If the topic was recreated, the new log is read from the
beginning.
"""

import threading
import time
from functools import partial
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from sqlalchemy.exc import DBAPIError

from bridge import kafka
from bridge.metrics import EVENTS_SKIPPED
from bridge.record import Partition, Record
from bridge.topics import TopicIdWatcher
from core.fault_injection import crash_point
from core.log import get_logger
from models.events.routes import ROUTES, producers_of

from .arrival import Arrival
from .dispatch import Dispatcher
from .handled_events import find_unhandled
from .key_ordering import KeyOrderedBuffer
from .recent_events import Lane, RecentEvents, ends_of

log = get_logger(__name__)

# Backpressure: a partition is paused while more than this is buffered, because workers are slower than Kafka. Each
# partition has its own limit, because its events may depend on an event of another partition. Above the limit of the
# service, partitions are paused at PARTITION_MIN_BYTES, so that each of them still makes progress.
PARTITION_BUFFER_BYTES = 16 * 2**20
SERVICE_BUFFER_BYTES = 48 * 2**20
PARTITION_MIN_BYTES = 256 * 2**10
BATCH = 2000  # messages between two updates of offsets and pauses
HANDLED_LOOKUP_MIN_MESSAGES = (
    20  # a batch of this size, or one with an old event, is checked for events that were handled before
)
POLL_SECONDS = 0.1  # while events are in progress: offsets are stored and pauses end between two polls
IDLE_POLL_SECONDS = 1.0  # otherwise; a message ends the poll
RECENT_BUFFER_BYTES = 8 * 2**20  # above it, new events wait for the old ones
DRAIN_SECONDS = 5
COMMITTED_TIMEOUT_SECONDS = 5


class ServiceConsumer(threading.Thread):
    """Member of the consumer group of one service in this process."""

    def __init__(self, service: str, dispatcher: Dispatcher, watch: TopicIdWatcher, stop: threading.Event) -> None:
        super().__init__(name=f"consume-{service}")
        self.service = service
        self._dispatcher = dispatcher
        self._topic_watcher = watch
        self._stop_requested = stop
        self._topics = self.topics_of(service)
        self._topic_ids: dict[str, str] = {}  # as they were before this consumer joined the group
        self._lock = threading.Lock()
        self._buffer = KeyOrderedBuffer()
        self._recent = RecentEvents(service, self._handlers_of)
        self._recent_buffer = KeyOrderedBuffer()  # its events are also read into ``_buffer`` later
        self._ended_lanes: set[Lane] = set()  # where an event ended since the new events were last tried
        self._paused: set[Partition] = set()
        self._poll_seconds = POLL_SECONDS
        self._batch: list[Message] = []
        self._revoked: set[Partition] | None = None  # while ``consume`` collects a batch
        self._handlers: dict[str, list[str]] = {}  # by event type

    @staticmethod
    def topics_of(service: str) -> list[str]:
        """Return the topics with events that ``service`` has handlers for."""
        types = [type_ for type_, handlers in ROUTES.items() if _handlers_in_service(service, handlers)]
        producers = {producer for type_ in types for producer in producers_of(type_)}
        return sorted(map(kafka.topic_of, producers))

    def run(self) -> None:
        while not self._stop_requested.is_set():
            # Wait until all topics exist: a group that subscribes earlier may not notice topics that are created later.
            self._topic_ids = self._topic_watcher.ids(self._topics)
            if len(self._topic_ids) == len(self._topics):
                self._consume_until_topics_change()
            else:
                self._stop_requested.wait(0.1)

    def _consume_until_topics_change(self) -> None:
        """Consume as a member of the group until stopped, or until a topic is recreated."""
        consumer = kafka.consumer(self.service)
        try:
            consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
            while not self._topics_recreated():
                self._poll_once(consumer)
                if self._stop_requested.is_set():
                    return self._drain(consumer)
            log.warning("topics were recreated", service=self.service)
        except (KafkaException, DBAPIError) as error:
            log.warning("consumer restarts", service=self.service, reason=str(error))
            self._stop_requested.wait(1)
        except Exception:  # discard the state in memory and consume again from the committed offsets
            log.exception("consumer failed", service=self.service)
            self._stop_requested.wait(1)
        finally:
            self._reset()
            consumer.close()  # commits the stored offsets

    def _topics_recreated(self) -> bool:
        return self._topic_watcher.ids(self._topics) != self._topic_ids

    def _poll_once(self, consumer: Consumer) -> None:
        self._apply_backpressure(consumer)
        self._poll_messages(consumer)
        arrivals = []
        for message in self._batch:
            if error := message.error():
                _raise_if_fatal(error)
            else:
                arrivals.append(Arrival(message))
        for record in self._accept(arrivals):
            self._start(record)
        self._start_recent(consumer)
        self._dispatcher.send_ready(self.service)
        is_idle = self._is_idle()  # before the offsets are stored: none is finished and not stored in the idle poll
        self._store_offsets(consumer)
        self._poll_seconds = IDLE_POLL_SECONDS if is_idle else self._poll_seconds_while_busy()

    def _is_idle(self) -> bool:
        with self._lock:
            return not (self._buffer or self._recent_buffer or self._paused or self._recent.is_reading)

    def _poll_seconds_while_busy(self) -> float:
        """Return until when to poll: until the events that wait for others to share their message are due."""
        return min(self._dispatcher.seconds_until_due(self.service), POLL_SECONDS)

    def _poll_messages(self, consumer: Consumer) -> None:
        """Collect the messages that are available, BATCH at most, without those of partitions revoked by then."""
        self._batch = []
        message = consumer.poll(self._poll_seconds)  # calls ``_on_revoke`` before it returns a message, never after it
        if message is None:
            return
        self._revoked = set()
        batch = [message, *consumer.consume(num_messages=BATCH - 1, timeout=0)]
        self._batch = [each for each in batch if each.error() or _partition_of(each) not in self._revoked]
        self._revoked = None

    def _start_recent(self, consumer: Consumer) -> None:
        """Start new events at the ends of partitions whose old events take long to read or to handle."""
        with self._lock:
            positions = self._buffer.positions()
        self._recent.follow(positions, ends_of(consumer, positions), self._paused)
        with self._lock:
            if sum(self._recent_buffer.held_bytes().values()) > RECENT_BUFFER_BYTES:
                return  # before ``poll``: an event is read once
            # An event that ends after this is in the next set, even if the lookup of ``may_start`` did not see its end.
            ended, self._ended_lanes = self._ended_lanes, set()
            held = self._recent_buffer.event_ids()
        arrivals = self._recent.poll(ended)
        if not arrivals:
            return
        records = self._recent.may_start(arrivals, held)
        with self._lock:
            starting = [record for record in records if self._recent_buffer.add(record)]
        for record in starting:
            self._start(record)

    def _accept(self, arrivals: list[Arrival]) -> list[Record]:
        """Queue the events that must be handled; return those that may start now."""
        unhandled = self._find_unhandled(arrivals)
        starting, skipped = [], 0
        with self._lock:
            for arrival in arrivals:
                if arrival.event_id in unhandled:
                    if (record := arrival.record()) is None:
                        self._buffer.skip(arrival.partition, arrival.offset)
                    elif self._buffer.add(record):
                        starting.append(record)
                else:
                    skipped += bool(self._handlers_of(arrival.type))
                    self._buffer.skip(arrival.partition, arrival.offset)
                    if self._recent.has_waiting:
                        self._ended_lanes.add((arrival.partition, arrival.key))
        if skipped:
            EVENTS_SKIPPED.labels(self.service).inc(skipped)
        return starting

    def _find_unhandled(self, arrivals: list[Arrival]) -> set[str]:
        """Return the ids of the events that at least one handler has not handled before, and of malformed messages.

        Small batches of fresh events skip the query, because it would only delay them.
        """
        wanted: dict[str, list[str]] = {}
        malformed, event_ids = set[str](), set[str]()
        for arrival in arrivals:
            if not arrival.is_event:
                malformed.add(arrival.event_id)
            elif handlers := self._handlers_of(arrival.type):
                event_ids.add(arrival.event_id)
                for handler in handlers:
                    wanted.setdefault(handler, []).append(arrival.event_id)
        is_small = len(arrivals) < HANDLED_LOOKUP_MIN_MESSAGES and not self._recent.is_reading
        if is_small and all(arrival.is_fresh for arrival in arrivals):
            return malformed | event_ids
        try:
            return malformed | {event_id for _, event_id in find_unhandled(self.service, wanted)}
        except DBAPIError as error:
            log.warning("handled-event lookup failed", service=self.service, reason=str(error))
            return malformed | event_ids  # the inbox checks in the workers still recognise them

    def _handlers_of(self, type_: str) -> list[str]:
        handlers = self._handlers.get(type_)
        if handlers is None:
            handlers = self._handlers[type_] = _handlers_in_service(self.service, ROUTES.get(type_, []))
        return handlers

    def _start(self, record: Record) -> None:
        """Dispatch ``record`` to its handlers. After all of them committed, the next event of its key starts."""
        crash_point("polled", record.type)
        handlers = self._handlers_of(record.type)
        waiting = set(handlers)
        for handler in handlers:
            self._dispatcher.dispatch(handler, record, partial(self._on_handled, record, handler, waiting))

    def _on_handled(self, record: Record, handler: str, waiting: set[str]) -> None:
        with self._lock:
            waiting.discard(handler)
            if waiting:
                return
        crash_point("handled, not stored", record.type)
        if following := self._finish(record):
            self._start(following)

    def _finish(self, record: Record) -> Record | None:
        with self._lock:
            if self._recent.is_reading:
                self._ended_lanes.add(((record.topic, record.partition), record.key))
            return self._buffer.finish(record) or self._recent_buffer.finish(record)

    def _store_offsets(self, consumer: Consumer) -> None:
        with self._lock:
            further = self._buffer.committable_offsets()
        offsets = [
            TopicPartition(topic, number, offset, self._topic_ids[topic]) for (topic, number), offset in further.items()
        ]
        if offsets:
            consumer.store_offsets(offsets=offsets)
            crash_point("stored, not committed", self.service)

    def _apply_backpressure(self, consumer: Consumer) -> None:
        with self._lock:
            held = dict(self._buffer.held_bytes())
        limit = PARTITION_MIN_BYTES if sum(held.values()) > SERVICE_BUFFER_BYTES else PARTITION_BUFFER_BYTES
        full = {partition for partition, size in held.items() if size > limit} - self._paused
        if full:
            consumer.pause([TopicPartition(*partition) for partition in full])
        freed = {partition for partition in self._paused if held.get(partition, 0) < limit / 2}
        if freed:
            consumer.resume([TopicPartition(*partition) for partition in freed])
        self._paused = (self._paused | full) - freed

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("partitions assigned", service=self.service, count=len(partitions))
        if self._revoked and not self._revoked.isdisjoint(map(_partition_key, partitions)):
            # Their messages before and after the revocation are in one batch: consume again from the committed offsets.
            raise KafkaException(KafkaError(KafkaError._STATE))  # noqa: SLF001 has no public name
        places = _committed_offsets(consumer, partitions)
        for place in places:
            if place.error:
                raise KafkaException(place.error)
            if self._is_from_previous_log(place):
                place.offset = OFFSET_BEGINNING
        consumer.incremental_assign(places)
        self._dispatcher.reload_blocked_keys()  # their previous owner may have dead-lettered some of their events
        self._paused -= set(map(_partition_key, partitions))  # new partitions start unpaused; kept ones do not change

    def _is_from_previous_log(self, place: TopicPartition) -> bool:
        return bool(place.metadata) and place.metadata != self._topic_ids[place.topic]

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._store_offsets(consumer)
        revoked = set(map(_partition_key, partitions))
        self._paused -= revoked
        if self._revoked is not None:
            self._revoked |= revoked
        self._recent.drop(revoked)
        with self._lock:
            self._buffer.revoke(revoked)
            self._recent_buffer.revoke(revoked)
        self._dispatcher.discard_unsent(self.service, revoked)  # their next owner dispatches these events

    def _drain(self, consumer: Consumer) -> None:
        """Wait up to DRAIN_SECONDS for events in flight, so that a restart does not redeliver them."""
        with self._lock:
            read = set(self._buffer.held_bytes())
            self._buffer.discard_pending([])
            self._recent_buffer.discard_pending([])
        self._dispatcher.send_ready(self.service, all_are_due=True)
        unsent = self._dispatcher.discard_unsent(self.service, read)
        with self._lock:
            self._buffer.discard_pending(unsent)
        deadline = time.monotonic() + DRAIN_SECONDS
        while len(self._buffer) + len(self._recent_buffer) and time.monotonic() < deadline:
            consumer.pause(consumer.assignment())
            consumer.poll(0.05)
        self._store_offsets(consumer)

    def _reset(self) -> None:
        self._paused, self._batch, self._revoked = set(), [], None
        with self._lock:
            read = set(self._buffer.held_bytes())
            self._buffer, self._recent_buffer = KeyOrderedBuffer(), KeyOrderedBuffer()
        self._recent.close()
        self._dispatcher.discard_unsent(self.service, read)


def _committed_offsets(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """Return the committed offsets of the group. Raises KafkaException."""
    try:
        return consumer.committed(partitions, timeout=COMMITTED_TIMEOUT_SECONDS) if partitions else []
    except KafkaException as error:
        # Raise a new exception: one that the client raised within its own callback cannot be caught around ``poll``.
        raise KafkaException(*error.args) from error


def _partition_of(message: Message) -> Partition:
    return cast("Partition", (message.topic(), message.partition()))


def _partition_key(partition: TopicPartition) -> Partition:
    return partition.topic, partition.partition


def _handlers_in_service(service: str, handlers: list[str]) -> list[str]:
    return [handler for handler in handlers if handler.startswith(f"{service}.")]


def _raise_if_fatal(error: KafkaError) -> None:
    if error.fatal():
        raise KafkaException(error)
    log.info("kafka error", reason=str(error))
