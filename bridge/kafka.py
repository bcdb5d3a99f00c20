"""How we speak to Kafka: every setting with its reason."""

from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import settings

# Of one message with its headers. An event has up to EVENT_MAX_BYTES, and PostgreSQL's text of it up to half as much
# more, for the spaces behind commas and colons.
MESSAGE_MAX_BYTES = 1024 * 1024
TOPIC_MESSAGE_MAX_BYTES = MESSAGE_MAX_BYTES + 4096  # a batch of one message, with its own header

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
            "message.max.bytes": MESSAGE_MAX_BYTES,
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
            "fetch.wait.max.ms": settings.KAFKA_FETCH_WAIT_MS,
            # All partitions share the client's one queue: a new event waits behind what was fetched ahead of others.
            "queued.min.messages": 5000,
            "queued.max.messages.kbytes": 16 * 1024,
            # A larger message comes alone: a broker gives at least one, whatever its size (KIP-74).
            "max.partition.fetch.bytes": 512 * 1024,
            "enable.auto.offset.store": False,  # stored when the handlers have committed, never before
            "auto.commit.interval.ms": 1000,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            # A group that came together before the topics were made again would otherwise wait for five minutes.
            "topic.metadata.refresh.interval.ms": 2000,
        }
    )


def assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    """From where to read what the group has given to us, as its protocol wants it said."""
    if settings.KAFKA_EMBEDDED:
        consumer.assign(partitions)
    else:
        consumer.incremental_assign(partitions)


def admin() -> AdminClient:
    return AdminClient(_COMMON)


_GROUP = {
    "partition.assignment.strategy": "cooperative-sticky",  # a bridge that joins stops nobody else's partitions
    "session.timeout.ms": 15_000,  # longer than a broker's restart, which then causes no rebalance
    "heartbeat.interval.ms": 1000,
    "max.poll.interval.ms": 60_000,
}
# The embedded broker lets a group wait for two thirds of the session at each join, and takes three times as long to
# agree on a cooperative assignment.
_EMBEDDED_GROUP = {
    "partition.assignment.strategy": "range",
    "session.timeout.ms": 3000,
    "heartbeat.interval.ms": 300,
    "max.poll.interval.ms": 6000,
}
