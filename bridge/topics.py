"""Create the services' topics and watch their ids: Kafka assigns a new id to a topic that is recreated."""

import threading
from collections.abc import Iterable
from contextlib import suppress

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.cimpl import NewTopic

import settings
from core.log import get_logger
from models.events.routes import ROUTES, producers_of

from . import kafka

log = get_logger(__name__)

_DAY_MS = 24 * 3600 * 1000
REFRESH_SECONDS = 1.0
INITIAL_REFRESH_SECONDS = 0.2  # until the topics exist, because all consumers wait for them


def service_topics() -> list[NewTopic]:
    """Return the topic of each service with its configuration."""
    config = {
        "max.message.bytes": str(kafka.TOPIC_MESSAGE_MAX_BYTES),
        # As long as the outbox may publish an event again. INBOX_RETENTION_DAYS is longer than the sum of both, so
        # every event on a topic that was handled still has its inbox row.
        "retention.ms": str(settings.OUTBOX_RETENTION_DAYS * _DAY_MS),
        # With acks=all a record is on this many brokers before it counts as published.
        "min.insync.replicas": str(max(1, min(2, settings.KAFKA_REPLICATION - 1))),
        "segment.ms": str(_DAY_MS),  # retention deletes whole segments, so a record is kept up to a day longer
    }
    return [
        NewTopic(kafka.topic_of(service), settings.KAFKA_PARTITIONS, settings.KAFKA_REPLICATION, config=config)
        for service in settings.SERVICES
    ]


def dead_letter_topics(names: Iterable[str]) -> list[NewTopic]:
    """Return these dead-letter topics with their configuration; one partition, because they receive few messages."""
    config = {
        "max.message.bytes": str(kafka.TOPIC_MESSAGE_MAX_BYTES),
        "retention.ms": str(settings.DEAD_LETTERS_RETENTION_DAYS * _DAY_MS),
    }
    return [NewTopic(name, 1, settings.KAFKA_REPLICATION, config=config) for name in sorted(names)]


def all_topics() -> list[NewTopic]:
    """Return every topic that the bridge may use, also those of dead letters that do not exist yet."""
    names = {
        f"{kafka.topic_of(producer)}.{handler}.dlq"
        for event_type, handlers in ROUTES.items()
        for producer in producers_of(event_type)
        for handler in handlers
    }
    return [*service_topics(), *dead_letter_topics(names)]


class Topics:
    """The services' topics at the broker."""

    def __init__(self) -> None:
        self._admin = kafka.admin()
        self._names = [kafka.topic_of(service) for service in settings.SERVICES]

    def ensure(self) -> None:
        """Create missing topics. Raises KafkaException if the broker is unreachable."""
        self._create(service_topics())

    def ensure_dead_letter_topics(self, names: set[str]) -> None:
        """Create missing dead-letter topics."""
        self._create(dead_letter_topics(names))

    def missing(self, topics: Iterable[NewTopic]) -> list[NewTopic]:
        """Return those of ``topics`` that the broker does not have. Raises KafkaException if it is unreachable."""
        known = self._admin.list_topics(timeout=5).topics
        return [topic for topic in topics if topic.topic not in known]

    def _create(self, topics: Iterable[NewTopic]) -> None:
        missing = self.missing(topics)
        if missing and not settings.KAFKA_CREATE_TOPICS:
            names = [topic.topic for topic in missing]
            log.error("topics are missing; python -m bridge topics lists what must exist", topics=names)
            return
        for name, created in (self._admin.create_topics(missing, operation_timeout=10) if missing else {}).items():
            try:
                created.result(timeout=10)
            except KafkaException as error:
                log.info("topic not created", topic=name, reason=str(error))  # normally another bridge created it first

    def ids(self) -> dict[str, str]:
        """Return the id of each topic. Raises KafkaException or TimeoutError if one is not available."""
        described = self._admin.describe_topics(TopicCollection(self._names), request_timeout=5)
        return {name: str(topic.result(timeout=6).topic_id) for name, topic in described.items()}


class TopicIdWatcher(threading.Thread):
    """Polls the topic ids for all consumers of the process."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__(name="topics")
        self._stop_requested = stop
        self._ids: dict[str, str] = {}

    def run(self) -> None:
        topics = Topics()
        while not self._stop_requested.is_set():
            # The broker may be unreachable, or the relay has not created the topics yet: keep the last known ids.
            with suppress(KafkaException, TimeoutError):
                self._ids = topics.ids()
            self._stop_requested.wait(REFRESH_SECONDS if self._ids else INITIAL_REFRESH_SECONDS)

    def ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Return the known ids of ``topics``, all from the same poll; empty before the first successful one."""
        ids = self._ids
        return {topic: ids[topic] for topic in topics if topic in ids}
