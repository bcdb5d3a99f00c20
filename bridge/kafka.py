"""How we speak to Kafka: every setting with its reason."""

from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

import celery_app
import settings
from models.log import get_logger

log = get_logger(__name__)

_COMMON: dict[str, Any] = {
    "bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS,
    "client.id": "coursebus-bridge",
    "reconnect.backoff.max.ms": 1000,  # a broker that is back is found within a second
    "log_level": 2,  # a broker that is away would fill the log twenty times a second; the relay says it once
}


def topic_of(service: str) -> str:
    """The topic of a service's events."""
    return f"{settings.KAFKA_TOPIC_PREFIX}{service}"


def service_of(topic: str) -> str:
    return topic.removeprefix(settings.KAFKA_TOPIC_PREFIX)


def producer() -> Producer:
    """A producer that keeps order. It does not survive a broker that forgot it: throw it away after any error."""
    return Producer(
        {
            **_COMMON,
            "enable.idempotence": True,  # a retry inside the client neither doubles nor reorders
            "acks": "all",
            "linger.ms": 5,
            "compression.type": "zstd",
            "partitioner": "murmur2_random",  # as the Java clients place keys
            "delivery.timeout.ms": 10_000,  # then the relay begins again with a new producer
            "allow.auto.create.topics": False,  # made by the broker they would have its number of partitions
        }
    )


def onlooker(service: str) -> Consumer:
    """One who reads where the group of ``service`` stands, and takes no part in it."""
    return Consumer(
        {
            **_COMMON,
            "group.id": group_of(service),
            "enable.auto.commit": False,
            "enable.partition.eof": True,  # says "there is nothing more", which silence does not
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )


def group_of(service: str) -> str:
    return f"{settings.KAFKA_TOPIC_PREFIX}coursebus.{service}"


def consumer(service: str) -> Consumer:
    """A member of the group of ``service``: each service has its own, so that a slow one stalls nobody else."""
    return Consumer(
        {
            **_COMMON,
            **(_EMBEDDED_GROUP if settings.KAFKA_EMBEDDED else _GROUP),
            "group.id": group_of(service),
            "enable.auto.offset.store": False,  # stored when the handlers have committed, never before
            "auto.commit.interval.ms": 1000,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            # A group that came together before the topics were made again would otherwise wait for five minutes.
            "topic.metadata.refresh.interval.ms": 2000,
        }
    )


_GROUP = {
    "fetch.wait.max.ms": 100,
    "partition.assignment.strategy": "cooperative-sticky",  # a bridge that joins stops nobody else's partitions
    "session.timeout.ms": 15_000,  # longer than a broker's restart, which then causes no rebalance
    "heartbeat.interval.ms": 1000,
    "max.poll.interval.ms": 60_000,
}
# The embedded broker lets a group wait for two thirds of the session at each join, and takes three times as long to
# agree on a cooperative assignment. A fetch that waits there is not woken by what arrives: it waits to its end.
_EMBEDDED_GROUP = {
    "fetch.wait.max.ms": 20,
    "partition.assignment.strategy": "range",
    "session.timeout.ms": 3000,
    "heartbeat.interval.ms": 300,
    "max.poll.interval.ms": 6000,
}


class Topics:
    """The services' topics at the broker."""

    def __init__(self) -> None:
        self._admin = AdminClient(_COMMON)
        self._names = [topic_of(service) for service in celery_app.SERVICES]

    def ensure(self) -> None:
        """Make those that are missing. Raises KafkaException while the broker is away."""
        self._make(NewTopic(name, settings.KAFKA_PARTITIONS, settings.KAFKA_REPLICATION) for name in self._names)

    def ensure_for_letters(self, names: set[str]) -> None:
        """Make the topics of dead letters that are missing: one partition, which few ever reach."""
        kept = {"retention.ms": str(settings.DEAD_LETTERS_KEPT_DAYS * 24 * 3600 * 1000)}
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
