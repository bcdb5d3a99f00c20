"""Configuration of the Kafka clients, with the reason of every setting."""

from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient

import settings

# Of one message with its headers. An event has at most EVENT_MAX_BYTES; its JSON as PostgreSQL prints it may be half as
# large again, because of the spaces after commas and colons.
MESSAGE_MAX_BYTES = 1024 * 1024
TOPIC_MESSAGE_MAX_BYTES = MESSAGE_MAX_BYTES + 4096  # a batch of one message, plus the batch header


def _common() -> dict[str, Any]:
    """Return the configuration of every client: address, login, behaviour on lost connections, and KAFKA_OPTIONS."""
    return {
        "bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS,
        "client.id": "coursebus-bridge",
        "reconnect.backoff.max.ms": 1000,  # reconnect within a second after a broker is back
        # A broker that comes back at another address never answers at the old one. With the default, a minute, its
        # partitions would stand still for so long. Longer than any fetch waits.
        "socket.timeout.ms": 10_000,
        "security.protocol": settings.KAFKA_SECURITY_PROTOCOL,
        **_credentials(),
        "log_level": 2,  # an unreachable broker would log twenty lines a second; the relay logs it once
        **settings.KAFKA_OPTIONS,
    }


def _credentials() -> dict[str, str]:
    """Return the login and the certificates to trust. Brokers' names are verified against their certificates."""
    found: dict[str, str] = {}
    if settings.KAFKA_SECURITY_PROTOCOL.startswith("SASL"):
        found["sasl.mechanism"] = settings.KAFKA_SASL_MECHANISM
        if settings.KAFKA_SASL_MECHANISM != "OAUTHBEARER":
            found |= {"sasl.username": settings.KAFKA_USERNAME, "sasl.password": settings.KAFKA_PASSWORD}
    if settings.KAFKA_CA_FILE:
        found["ssl.ca.location"] = settings.KAFKA_CA_FILE
    return found


def topic_of(service: str) -> str:
    """Return the topic of a service's events."""
    return f"{settings.KAFKA_TOPIC_PREFIX}{service}"


def service_of(topic: str) -> str:
    return topic.removeprefix(settings.KAFKA_TOPIC_PREFIX)


def producer() -> Producer:
    """Return an idempotent producer that keeps the order.

    Discard it after any error: a broker that lost its state no longer knows the producer id.
    """
    return Producer(
        {
            **_common(),
            "enable.idempotence": True,  # retries inside the client neither duplicate nor reorder messages
            "acks": "all",
            "message.max.bytes": MESSAGE_MAX_BYTES,
            # Every batch ends with a flush, which sends at once. This is for large batches: Kafka stores the first
            # events while the relay still produces the others, in requests of some 200 events.
            "linger.ms": 20,
            "compression.type": "zstd",
            "partitioner": "murmur2_random",  # the partitioner of the Java clients
            "delivery.timeout.ms": 10_000,  # after it the relay restarts with a new producer
            "allow.auto.create.topics": False,  # the broker would create them with its default number of partitions
        }
    )


def offset_reader(service: str, on_error: Callable[[KafkaError], object] = lambda _: None) -> Consumer:
    """Return a consumer that reads the offsets of the group of ``service`` without joining the group.

    ``on_error`` is called by ``poll`` and ``consume`` with each error of the client, such as a login that was refused.
    """
    return Consumer(
        {
            **_common(),
            "group.id": group_of(service),
            "enable.auto.commit": False,
            "error_cb": on_error,
            "enable.partition.eof": True,  # the reliable sign that a partition has no more messages
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )


def tail_reader(service: str) -> Consumer:
    """Return a consumer that reads the ends of partitions beside the group of ``service`` and commits nothing."""
    return Consumer(
        {
            **_common(),
            "group.id": group_of(service),  # required by the client; without ``subscribe`` it joins no group
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.wait.max.ms": settings.KAFKA_FETCH_WAIT_MS,
            "queued.max.messages.kbytes": 4 * 1024,
            "max.partition.fetch.bytes": 512 * 1024,
            "auto.offset.reset": "latest",
            "isolation.level": "read_committed",
        }
    )


def group_of(service: str) -> str:
    return f"{settings.KAFKA_TOPIC_PREFIX}coursebus.{service}"


def consumer(service: str) -> Consumer:
    """Return a member of the group of ``service``. Groups are separate, so a slow service delays no other."""
    return Consumer(
        {
            **_common(),
            "group.id": group_of(service),
            "partition.assignment.strategy": "cooperative-sticky",  # a join does not interrupt other members
            "session.timeout.ms": settings.KAFKA_SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": 1000,  # also the delay after which members notice a rebalance
            "max.poll.interval.ms": 60_000,
            "fetch.wait.max.ms": settings.KAFKA_FETCH_WAIT_MS,
            # All partitions share one queue in the client: a new event waits behind prefetched messages of others.
            "queued.min.messages": 5000,
            "queued.max.messages.kbytes": 16 * 1024,
            # A larger message is still delivered: a broker returns at least one message, whatever its size (KIP-74).
            "max.partition.fetch.bytes": 512 * 1024,
            "enable.auto.offset.store": False,  # ServiceConsumer stores an offset after the handlers committed
            "auto.commit.interval.ms": 1000,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            # With the default, a group that formed before the topics were recreated would wait for five minutes.
            "topic.metadata.refresh.interval.ms": 2000,
        }
    )


def admin() -> AdminClient:
    return AdminClient(_common())
