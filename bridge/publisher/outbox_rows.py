"""The query for outbox rows, and the headers of their Kafka messages."""

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import Row, Text, cast, select

from core.bus.outbox import OutboxEvent
from models.events import Event

Rows = list[Row[Any]]

EVENTS = select(
    OutboxEvent.seq,
    OutboxEvent.id,
    OutboxEvent.aggregatetype,
    OutboxEvent.aggregateid,
    OutboxEvent.aggregate_version,
    OutboxEvent.type,
    cast(OutboxEvent.payload, Text).label("payload"),  # JSON as text: the bridge does not parse it
    OutboxEvent.headers,
    OutboxEvent.created_at,
)


def key_of(row: Row[Any]) -> tuple[str, str]:
    """Return the producing service and the key: events with the same pair are published in order."""
    return row.aggregatetype, row.aggregateid


def headers_of(row: Row[Any]) -> Iterator[tuple[str, str]]:
    """Yield the headers of CloudEvents 1.0, Kafka binary mode."""
    yield "content-type", "application/json"
    yield "ce_specversion", "1.0"
    yield "ce_id", str(row.id)
    yield "ce_source", f"/{row.aggregatetype}"
    yield "ce_type", row.type
    yield "ce_subject", row.aggregateid
    yield "ce_time", msgspec.to_builtins(row.created_at)
    version = Event.by_type[row.type].schema_version if row.type in Event.by_type else 1
    yield "ce_dataschema", f"https://coursebus.dev/schemas/{row.type}/{version}"
    yield "ce_partitionkey", row.aggregateid
    yield "ce_sequence", str(row.aggregate_version)
    for header, name in (
        ("ce_correlationid", "request_id"),
        ("ce_causationid", "causation_id"),
        ("traceparent", "traceparent"),
    ):
        if value := row.headers.get(name):
            yield header, value
