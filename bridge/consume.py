"""From Kafka to the handlers of one service: the offset is stored only when they have committed.

An offset is a place in one log, and says of which: where a topic was made anew, its log is read from the beginning.
"""

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from sqlalchemy.exc import DBAPIError

import settings
from models.faults import reach
from models.log import get_logger

from . import kafka
from .dispatch import Dispatcher
from .lanes import Lanes, Partition, Record
from .routes import ROUTES
from .tellers import tellers_of
from .topics import TopicWatch

log = get_logger(__name__)

# Records of one partition in memory; the workers are the slow part, so more would only wait here. Of one, never of all:
# they may wait for what an event on another partition brings.
PAUSE_ABOVE = 200
RESUME_BELOW = 100
DRAIN_SECONDS = 5
COMMITTED_SECONDS = 5


class ServiceConsumer(threading.Thread):
    """The member of one service's group in this process."""

    def __init__(self, service: str, dispatcher: Dispatcher, watch: TopicWatch, stop: threading.Event) -> None:
        super().__init__(name=f"consume-{service}")
        self.service = service
        self._dispatcher = dispatcher
        self._watch = watch
        self._stop_asked = stop
        self._topics = self.topics_of(service)
        self._topic_ids: dict[str, str] = {}  # as they were before we joined the group
        self._lock = threading.Lock()
        self._lanes = Lanes()
        self._paused: set[Partition] = set()

    @staticmethod
    def topics_of(service: str) -> list[str]:
        """The topics that hold events which ``service`` reacts to."""
        types = [type_ for type_, handlers in ROUTES.items() if _of(service, handlers)]
        heard = {teller for type_ in types for teller in tellers_of(type_)}
        return sorted(map(kafka.topic_of, heard))

    def run(self) -> None:
        while not self._stop_asked.is_set():
            # A group that comes together over topics that are not all there may not notice when they come.
            self._topic_ids = self._watch.ids(self._topics)
            if len(self._topic_ids) == len(self._topics):
                self._read_these_topics()
            else:
                self._stop_asked.wait(0.1)

    def _read_these_topics(self) -> None:
        """Take part in the group until asked to stop, or until a topic is another one."""
        consumer = kafka.consumer(self.service)
        try:
            consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._taken, on_lost=self._taken)
            while not self._topics_are_others():
                self._turn(consumer)
                if self._stop_asked.is_set():
                    return self._drain(consumer)
            log.warning("topics were made anew", service=self.service)
        except (KafkaException, DBAPIError) as error:
            log.warning("consumer starts again", service=self.service, reason=str(error))
            self._stop_asked.wait(1)
        finally:
            self._forget_everything()
            consumer.close()  # commits what was stored

    def _topics_are_others(self) -> bool:
        # The embedded broker loses its groups together with its log: all begin anew in any case, and a member that
        # leaves meanwhile can leave it waiting for ever.
        return not settings.KAFKA_EMBEDDED and self._watch.ids(self._topics) != self._topic_ids

    def _turn(self, consumer: Consumer) -> None:
        self._hold_back(consumer)
        for message in _arrived(consumer):
            if error := message.error():
                _tolerate(error)
            elif record := _record(message):
                self._take(record)
        self._store(consumer)

    def _take(self, record: Record) -> None:
        reach("polled", record.type)
        with self._lock:
            may_start = self._lanes.add(record)
        if may_start:
            self._start(record)

    def _start(self, record: Record) -> None:
        """Give ``record`` to its handlers, and when all of them have committed go on with the next of its key."""
        following: Record | None = record
        while following and not (handlers := _of(self.service, ROUTES.get(following.type, []))):
            following = self._finish(following)
        if following:
            waiting = set(handlers)
            for handler in handlers:
                self._dispatcher.dispatch(handler, following, partial(self._committed, following, handler, waiting))

    def _committed(self, record: Record, handler: str, waiting: set[str]) -> None:
        with self._lock:
            waiting.discard(handler)
            if waiting:
                return
        reach("handled, not stored", record.type)
        if following := self._finish(record):
            self._start(following)

    def _finish(self, record: Record) -> Record | None:
        with self._lock:
            return self._lanes.finish(record)

    def _store(self, consumer: Consumer) -> None:
        with self._lock:
            further = self._lanes.storable()
        offsets = [
            TopicPartition(topic, number, offset, self._topic_ids[topic]) for (topic, number), offset in further.items()
        ]
        if offsets:
            consumer.store_offsets(offsets=offsets)
            reach("stored, not committed", self.service)

    def _hold_back(self, consumer: Consumer) -> None:
        with self._lock:
            waiting = self._lanes.waiting()
        full = {partition for partition, count in waiting.items() if count > PAUSE_ABOVE} - self._paused
        if full:
            consumer.pause([TopicPartition(*partition) for partition in full])
        freed = {partition for partition in self._paused if waiting[partition] < RESUME_BELOW}
        if freed:
            consumer.resume([TopicPartition(*partition) for partition in freed])
        self._paused = (self._paused | full) - freed

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("partitions assigned", service=self.service, count=len(partitions))
        places = _committed_places(consumer, partitions)
        for place in places:
            if place.error:
                raise KafkaException(place.error)
            if self._is_of_another_log(place):
                place.offset = OFFSET_BEGINNING
        kafka.assign(consumer, places)
        self._dispatcher.learn_blocked_keys()  # their last owner may have buried some of their events
        self._paused -= set(map(_place, partitions))  # new ones come unpaused, and those that stay are as they were

    def _is_of_another_log(self, place: TopicPartition) -> bool:
        # The embedded broker does not keep what an offset says of itself.
        return bool(place.metadata) and place.metadata != self._topic_ids[place.topic]

    def _taken(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # What is under way for them is answered to nobody; their next owner sends it again.
        self._store(consumer)
        gone = set(map(_place, partitions))
        self._paused -= gone
        with self._lock:
            self._lanes.drop(gone)

    def _drain(self, consumer: Consumer) -> None:
        """Wait a little for what the workers have in hand, so that a restart repeats nothing."""
        with self._lock:
            self._lanes.forget_waiting()
        deadline = time.monotonic() + DRAIN_SECONDS
        while len(self._lanes) and time.monotonic() < deadline:
            consumer.pause(consumer.assignment())
            consumer.poll(0.05)
        self._store(consumer)

    def _forget_everything(self) -> None:
        self._paused = set()
        with self._lock:
            self._lanes = Lanes()


def _committed_places(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """How far the group has come. Raises KafkaException."""
    try:
        return consumer.committed(partitions, timeout=COMMITTED_SECONDS) if partitions else []
    except KafkaException as error:
        # What the client raises within its own callback comes out of ``poll`` as no exception that can be caught.
        raise KafkaException(*error.args) from error


def _place(partition: TopicPartition) -> Partition:
    return partition.topic, partition.partition


def _of(service: str, handlers: list[str]) -> list[str]:
    return [handler for handler in handlers if handler.startswith(f"{service}.")]


def _arrived(consumer: Consumer) -> Iterator[Message]:
    """What has come, one by one: a batch could hold records of a partition that was taken from us within it."""
    timeout = 0.1
    for _ in range(100):
        message = consumer.poll(timeout)
        if message is None:
            return
        yield message
        timeout = 0


def _record(message: Message) -> Record | None:
    """The message as a record; None for one that is not ours, which nobody could handle."""
    headers = {name: _text(value) for name, value in cast("list[tuple[str, Any]]", message.headers() or [])}
    topic, partition, offset, value = message.topic(), message.partition(), message.offset(), message.value()
    is_event = {"ce_id", "ce_type"} <= set(headers)
    if topic is None or partition is None or offset is None or value is None or not is_event:
        log.error("message without an event", topic=topic, partition=partition, offset=offset)
        return None
    return Record(topic, partition, offset, _text(message.key() or b""), headers, msgspec.Raw(value))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _tolerate(error: KafkaError) -> None:
    if error.fatal():
        raise KafkaException(error)
    log.info("kafka says", reason=str(error))
