"""Prometheus metrics of the bus: queues, outboxes, dead letters, lag, and purchases without access.

The bridge exports them rather than the workers, because the length of a queue matters most when its worker is down.
Redis and the databases are queried at each scrape; a query that fails is omitted from the scrape and counted in
``coursebus_scrape_errors_total``.
"""

import time
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from confluent_kafka.admin import AdminClient
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from sqlalchemy import Row, func, select
from sqlalchemy.exc import SQLAlchemyError

import settings
from core import health, metrics
from core.bus.dead_letters import DeadLetter
from core.bus.inbox import InboxEvent
from core.bus.kafka_topics import KafkaTopic
from core.bus.outbox import OutboxEvent
from core.bus.quarantine import PARKED
from core.db import ping, session_factory, utc_now
from core.log import get_logger
from core.messaging import task_queue
from core.redis import queue_redis
from models.events.routes import ROUTES

from . import kafka
from .record import Record

log = get_logger(__name__)

GRANT_ACCESS_HANDLER = "courses.grant_access"  # the handler that gives a buyer access
GRANT_ACCESS_SLO = timedelta(minutes=1)

LAG_EVENTS = Gauge("coursebus_consumer_lag_events", "Events on Kafka that the service has not handled.", ["service"])
LAG_SECONDS = Gauge(
    "coursebus_consumer_lag_seconds", "Age of the oldest event on Kafka that is not handled.", ["service"]
)
EVENTS_IN_FLIGHT = Gauge("coursebus_events_in_flight", "Events sent to handlers without a reply yet.", ["service"])
EVENTS_WAITING = Gauge("coursebus_events_waiting", "Events in the bridge that are not sent yet.", ["service"])
EVENTS_RESENT = Counter("coursebus_events_resent", "Events sent again because their message was lost.", ["service"])
EVENTS_SKIPPED = Counter("coursebus_events_skipped", "Events not sent because they were handled before.", ["service"])
SCRAPE_ERRORS = Counter(
    "coursebus_scrape_errors", "Queries of a scrape that failed because a server did not respond.", ["part"]
)


def serve() -> None:
    """Start the endpoint of metrics and health."""
    REGISTRY.register(BusCollector())
    health.serve(readiness={"postgres": _ping_databases, "queue": lambda: queue_redis().ping(), "kafka": _ping_kafka})


def _ping_databases() -> None:
    for service in {settings.database_url(service): service for service in settings.SERVICES}.values():
        ping(service)


def _ping_kafka() -> None:
    kafka_admin().list_topics(timeout=health.DEADLINE_SECONDS)


@cache
def kafka_admin() -> AdminClient:
    return kafka.admin()


def count_published(rows: Sequence[Row[Any]], seqs: Sequence[int]) -> None:
    """Count the ``rows`` that Kafka acknowledged (``seqs``), by topic."""
    marked = set(seqs)
    for topic, number in Count(row.aggregatetype for row in rows if row.seq in marked).items():
        metrics.EVENTS_PUBLISHED.labels(topic).inc(number)


def observe_handled(handler: str, record: Record) -> None:
    """Measure the time from the creation of an event (``ce_time``) to its handler's reply; log its Kafka position."""
    try:
        seconds = max(time.time() - datetime.fromisoformat(record.headers["ce_time"]).timestamp(), 0)
    except (KeyError, ValueError):  # published without a valid ``ce_time``
        seconds = 0.0
    else:
        _event_seconds(handler).observe(seconds)
    log.info(
        "event handled",
        handler=handler,
        type=record.type,
        event_id=record.event_id,
        kafka_position=f"{record.topic}/{record.partition}/{record.offset}",
        traceparent=record.headers.get("traceparent"),
        request_id=record.headers.get("ce_correlationid"),
        **{"event.duration": int(seconds * 1e9)},
    )


def set_lag(service: str, *, events: int, seconds: float) -> None:
    """Set the lag gauges of the consumer group of ``service``."""
    LAG_EVENTS.labels(service).set(events)
    LAG_SECONDS.labels(service).set(seconds)


@cache
def _event_seconds(handler: str) -> Histogram:
    return metrics.EVENT_SECONDS.labels(handler)


class BusCollector(Collector):
    """Collects queue, outbox and dead-letter metrics at each scrape."""

    def describe(self) -> Iterable[Metric]:
        return []  # otherwise registering the collector would query all servers

    def collect(self) -> Iterator[Metric]:
        parts: dict[str, Callable[[], list[Metric]]] = {
            "queues": _queues,
            "outbox": _outbox,
            "quarantine": _quarantine,
            "refills": _refills,
            "dead letters": _dead_letters,
            "access": _paid_without_access,
        }
        for part, collect_part in parts.items():
            try:
                yield from collect_part()
            except (RedisError, SQLAlchemyError) as error:
                SCRAPE_ERRORS.labels(part).inc()
                log.warning("scrape query failed", part=part, reason=str(error))


def _queues() -> list[Metric]:
    length = GaugeMetricFamily("coursebus_queue_length", "Messages waiting in the queue.", labels=["queue"])
    age = GaugeMetricFamily("coursebus_queue_oldest_seconds", "Age of the oldest waiting message.", labels=["queue"])
    taken = GaugeMetricFamily(
        "coursebus_queue_unacked", "Messages that a worker has taken and not acknowledged.", labels=["queue"]
    )
    with queue_redis().pipeline(transaction=False) as pipeline:
        for queue in settings.SERVICES:
            pipeline.llen(queue)
            pipeline.lindex(queue, -1)
            pipeline.hlen(f"unacked:{queue}")
        answers: list[Any] = pipeline.execute()
    for queue, waiting, oldest, unacked in zip(
        settings.SERVICES, answers[::3], answers[1::3], answers[2::3], strict=True
    ):
        length.add_metric([queue], waiting)
        age.add_metric([queue], _age_of(oldest))
        taken.add_metric([queue], unacked)
    return [length, age, taken]


def _age_of(message: bytes | None) -> float:
    sent_at = task_queue.sent_at_of(message) if message else None
    return max(time.time() - sent_at, 0) if sent_at else 0.0


# The condition of the partial index that the relay uses.
_UNPUBLISHED = (OutboxEvent.published_at.is_(None), OutboxEvent.failed_at.is_(None))


def _outbox() -> list[Metric]:
    pending = GaugeMetricFamily("coursebus_outbox_pending", "Events that are not published yet.", labels=["service"])
    age = GaugeMetricFamily(
        "coursebus_outbox_oldest_seconds", "Age of the oldest unpublished event.", labels=["service"]
    )
    oldest = func.extract("epoch", func.now() - func.min(OutboxEvent.created_at))
    for service in settings.SERVICES:
        unpublished = (*_UNPUBLISHED, OutboxEvent.aggregatetype == service)
        with session_factory(service).begin() as session:
            number, seconds = session.execute(select(func.count(), oldest).where(*unpublished)).one()
        pending.add_metric([service], number)
        age.add_metric([service], max(float(seconds or 0), 0))
    return [pending, age]


def _quarantine() -> list[Metric]:
    refused = GaugeMetricFamily(
        "coursebus_quarantined_events", "Events that Kafka refuses permanently.", labels=["service"]
    )
    parked = GaugeMetricFamily(
        "coursebus_parked_events", "Events parked behind a quarantined event of their key.", labels=["service"]
    )
    age = GaugeMetricFamily(
        "coursebus_quarantined_oldest_seconds", "Age of the oldest quarantined event.", labels=["service"]
    )
    is_parked = OutboxEvent.failure_reason == PARKED
    oldest = func.extract("epoch", func.now() - func.min(OutboxEvent.created_at))
    counts = select(func.count().filter(~is_parked), func.count().filter(is_parked), oldest)
    for service in settings.SERVICES:
        with session_factory(service).begin() as session:
            row = session.execute(
                counts.where(OutboxEvent.failed_at.is_not(None), OutboxEvent.aggregatetype == service)
            ).one()
        refused.add_metric([service], row[0])
        parked.add_metric([service], row[1])
        age.add_metric([service], max(float(row[2] or 0), 0))
    return [refused, parked, age]


def _refills() -> list[Metric]:
    remaining = GaugeMetricFamily(
        "coursebus_refill_seqs_left",
        "Outbox rows that a refill of the topic has not processed yet.",
        labels=["service"],
    )
    for service in settings.SERVICES:
        with session_factory(service).begin() as session:
            topic = session.get(KafkaTopic, kafka.topic_of(service))
        remaining.add_metric([service], topic.seqs_left if topic else 0)
    return [remaining]


def _dead_letters() -> list[Metric]:
    metric = GaugeMetricFamily(
        "coursebus_dead_letters", "Open dead letters, including parked events.", labels=["handler"]
    )
    waiting: dict[str, int] = dict.fromkeys(sorted({name for names in ROUTES.values() for name in names}), 0)
    number_of = select(DeadLetter.handler, func.count().label("number")).group_by(DeadLetter.handler)
    opened = number_of.where(DeadLetter.status == "open")
    for service in settings.SERVICES:
        with session_factory(service).begin() as session:
            rows = session.execute(opened.where(DeadLetter.handler.startswith(f"{service}.")))
            waiting |= {row.handler: row.number for row in rows}
    for handler, number in waiting.items():
        metric.add_metric([handler], number)
    return [metric]


def _paid_without_access() -> list[Metric]:
    event_types = {type_ for type_, handlers in ROUTES.items() if GRANT_ACCESS_HANDLER in handlers}
    until = utc_now() - GRANT_ACCESS_SLO
    since = until - timedelta(hours=settings.AUDIT_WINDOW_HOURS)
    bought = select(OutboxEvent.id).where(OutboxEvent.type.in_(event_types), OutboxEvent.created_at <= until)
    published = (OutboxEvent.published_at >= since, OutboxEvent.published_at.is_not(None))
    with session_factory("payments").begin() as session:
        waiting = list(session.scalars(bought.where(*published)))
        waiting += session.scalars(bought.where(*_UNPUBLISHED))
        waiting += session.scalars(bought.where(OutboxEvent.failed_at.is_not(None)))
    granted = select(func.count()).where(InboxEvent.handler == GRANT_ACCESS_HANDLER, InboxEvent.event_id.in_(waiting))
    with session_factory(GRANT_ACCESS_HANDLER.partition(".")[0]).begin() as session:
        number = len(waiting) - (session.scalar(granted) or 0)
    metric = GaugeMetricFamily(
        "coursebus_paid_without_access", "Purchases of the last day that have not given access within a minute."
    )
    metric.add_metric([], number)
    return [metric]
