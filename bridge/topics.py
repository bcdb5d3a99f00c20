"""The services' topics at the broker, and which they are: Kafka gives a topic that is made anew another id."""

import threading
from collections.abc import Iterable
from contextlib import suppress

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.cimpl import NewTopic

import celery_app
import settings
from models.log import get_logger

from . import kafka

log = get_logger(__name__)

_DAY_MS = 24 * 3600 * 1000
LOOK_SECONDS = 1.0
FIRST_LOOK_SECONDS = 0.2  # until there are topics: everybody waits for them


class Topics:
    """The services' topics at the broker."""

    def __init__(self) -> None:
        self._admin = kafka.admin()
        self._names = [kafka.topic_of(service) for service in celery_app.SERVICES]

    def ensure(self) -> None:
        """Make those that are missing. Raises KafkaException while the broker is away."""
        config = {
            "max.message.bytes": str(kafka.TOPIC_MESSAGE_MAX_BYTES),
            # As long as the outbox may publish an event again. INBOX_KEPT_DAYS is longer than both together, so a
            # handler remembers every event that it can find here.
            "retention.ms": str(settings.OUTBOX_KEPT_DAYS * _DAY_MS),
            "segment.ms": str(_DAY_MS),  # retention deletes whole segments: a record stays for a day more at most
        }
        self._make(
            NewTopic(name, settings.KAFKA_PARTITIONS, settings.KAFKA_REPLICATION, config=config) for name in self._names
        )

    def ensure_for_letters(self, names: set[str]) -> None:
        """Make the topics of dead letters that are missing: one partition, which few ever reach."""
        kept = {
            "max.message.bytes": str(kafka.TOPIC_MESSAGE_MAX_BYTES),
            "retention.ms": str(settings.DEAD_LETTERS_KEPT_DAYS * _DAY_MS),
        }
        self._make(NewTopic(name, 1, settings.KAFKA_REPLICATION, config=kept) for name in sorted(names))

    def _make(self, topics: Iterable[NewTopic]) -> None:
        known = self._admin.list_topics(timeout=5).topics
        missing = [topic for topic in topics if topic.topic not in known]
        for name, made in (self._admin.create_topics(missing, operation_timeout=10) if missing else {}).items():
            try:
                made.result(timeout=10)
            except KafkaException as error:
                log.info("topic not made", topic=name, reason=str(error))  # another bridge was faster

    def ids(self) -> dict[str, str]:
        """The id of each topic. Raises KafkaException or TimeoutError where one cannot be told."""
        described = self._admin.describe_topics(TopicCollection(self._names), request_timeout=5)
        return {name: str(topic.result(timeout=6).topic_id) for name, topic in described.items()}


class TopicWatch(threading.Thread):
    """Looks up the topics' ids for all consumers of a process."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__(name="topics")
        self._stop_asked = stop
        self._ids: dict[str, str] = {}

    def run(self) -> None:
        topics = Topics()
        while not self._stop_asked.is_set():
            # The broker may be away, or the relay makes them now; what was known holds until another is seen.
            with suppress(KafkaException, TimeoutError):
                self._ids = topics.ids()
            self._stop_asked.wait(LOOK_SECONDS if self._ids else FIRST_LOOK_SECONDS)

    def ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The id of each of ``topics``, all as of one look; empty until there was one."""
        ids = self._ids
        return {topic: ids[topic] for topic in topics if topic in ids}
