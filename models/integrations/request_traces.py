"""Request traces: the events that a request has caused, and what their handlers have done.

Read from the tables of the bus, so a trace is complete even while Kafka or the log store is away.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, String, Text, Uuid, column, literal_column, select, values
from sqlalchemy.orm import Session

import settings
from core.bus.dead_letters import DeadLetter, HandlerFailure
from core.bus.inbox import InboxEvent
from core.bus.outbox import OutboxEvent
from core.db import utc_now
from models.events.routes import ROUTES
from models.integrations.event_log import EventLogEntry
from settings import SERVICES

MAX_EVENTS = 200  # of one trace; a bulk command causes more

# The expression of the index ix_outbox_request_id; a bound parameter in it would not match the index.
_request_id: ColumnElement[str] = OutboxEvent.headers.op("->>", return_type=Text())(literal_column("'request_id'"))
_Pair = tuple[str, UUID]  # handler and event id


def trace_of(session: Session, request_id: str) -> dict[str, Any] | None:
    """Return the events that a request has caused, oldest first, with the state of each handler; None without events.

    At most MAX_EVENTS; ``truncated`` says whether there are more.
    """
    events = session.execute(select_events(request_id).limit(MAX_EVENTS + 1)).all()
    if not events:
        return None
    shown = events[:MAX_EVENTS]
    states = _handler_states(session, [(name, event.id) for event in shown for name in ROUTES.get(event.type, [])])
    return {
        "request_id": request_id,
        "truncated": len(events) > MAX_EVENTS,
        "events": [_to_response(event, states) for event in shown],
    }


def list_requests(
    session: Session, *, key: str | None, user_id: UUID | None, limit: int, before: int | None
) -> tuple[list[dict[str, Any]], int | None]:
    """Return the requests that changed the aggregate ``key`` or caused events about a user, newest first.

    Reads ``limit`` events before the position ``before`` of the outbox, so there may be fewer requests. The second
    value is the position to continue before, None at the end.
    """
    wanted = select(_request_id.label("request_id"), OutboxEvent.seq, OutboxEvent.type, OutboxEvent.created_at)
    if before is not None:
        wanted = wanted.where(OutboxEvent.seq < before)
    if key is not None:
        wanted = wanted.where(OutboxEvent.aggregatetype.in_(SERVICES), OutboxEvent.aggregateid == key)
    if user_id is not None:
        about = select(EventLogEntry.id).where(
            EventLogEntry.data.has_key("user_id"),  # the condition of the index ix_events_user_id
            EventLogEntry.data["user_id"].astext == str(user_id),
        )
        wanted = wanted.where(OutboxEvent.id.in_(about))
    rows = session.execute(wanted.order_by(OutboxEvent.seq.desc()).limit(limit)).all()
    requests: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.request_id is not None:
            request = requests.setdefault(row.request_id, {"request_id": row.request_id, "event_types": []})
            request["event_types"].insert(0, row.type)
            request["first_event_at"] = row.created_at
    return list(requests.values()), rows[-1].seq if len(rows) == limit else None


def select_events(request_id: str) -> Select[Any]:
    """Return the query for the events that a request has caused, oldest first."""
    return (
        select(
            OutboxEvent.id,
            OutboxEvent.aggregatetype.label("service"),
            OutboxEvent.aggregateid.label("key"),
            OutboxEvent.aggregate_version.label("version"),
            OutboxEvent.type,
            OutboxEvent.headers,
            OutboxEvent.created_at,
            OutboxEvent.published_at,
            OutboxEvent.failed_at,
            OutboxEvent.failure_reason,
        )
        .where(_request_id == request_id)
        .order_by(OutboxEvent.seq)
    )


def _handler_states(session: Session, pairs: list[_Pair]) -> dict[_Pair, Row[Any]]:
    """Return what is known of each handler and event; nothing for those that have not run."""
    if not pairs:
        return {}
    wanted = values(column("handler", String), column("event_id", Uuid), name="wanted").data(pairs)
    of = {
        table: (table.handler == wanted.c.handler) & (table.event_id == wanted.c.event_id)
        for table in (InboxEvent, HandlerFailure, DeadLetter)
    }
    found = session.execute(
        select(
            wanted.c.handler,
            wanted.c.event_id,
            InboxEvent.handled_at,
            HandlerFailure.attempts,
            HandlerFailure.failed_at,
            DeadLetter.seq,
            DeadLetter.created_at.label("gave_up_at"),
            DeadLetter.closed_at,
            DeadLetter.status,
            DeadLetter.reason,
        )
        .select_from(wanted)
        .outerjoin(InboxEvent, of[InboxEvent])
        .outerjoin(HandlerFailure, of[HandlerFailure])
        .outerjoin(DeadLetter, of[DeadLetter])
    )
    return {(row.handler, row.event_id): row for row in found}


def _to_response(event: Row[Any], states: Mapping[_Pair, Row[Any]]) -> dict[str, Any]:
    """Return an event of a trace. Its payload is left out, because it may hold personal data."""
    headers = event.headers
    sent_at = headers.get("sent_at")
    return {
        "id": event.id,
        "type": event.type,
        "service": event.service,
        "key": event.key,
        "version": event.version,
        "task": headers.get("task"),
        "actor": headers.get("actor"),
        "caused_by": headers.get("causation_id"),
        "queued_at": datetime.fromtimestamp(sent_at, UTC) if sent_at else None,
        "recorded_at": event.created_at,
        "published_at": event.published_at,
        "quarantined_at": event.failed_at,
        "quarantine_reason": event.failure_reason,
        "handlers": [_handler(name, event, states[name, event.id]) for name in ROUTES.get(event.type, [])],
    }


def _handler(name: str, event: Row[Any], known: Row[Any]) -> dict[str, Any]:
    """Return what a handler has done with an event."""
    state = _state_of(event, known)
    ended_at = {"handled": known.handled_at, "failing": known.failed_at, "discarded": known.closed_at}
    return {
        "handler": name,
        "state": state,
        "at": known.gave_up_at if state == "dead_letter" else ended_at.get(state),
        "attempts": known.attempts,
        "dead_letter_id": f"{name.partition('.')[0]}-{known.seq}" if known.seq else None,
        "reason": known.reason if state in {"dead_letter", "discarded"} else None,
    }


def _state_of(event: Row[Any], known: Row[Any]) -> str:
    if known.handled_at:
        return "handled"
    if known.status == "open":
        return "dead_letter"
    if known.status == "discarded":
        return "discarded"
    if known.attempts:
        return "failing"
    # The row of the inbox was deleted, or it never existed: nothing says which.
    is_old = event.created_at < utc_now() - timedelta(days=settings.INBOX_RETENTION_DAYS)
    return "unknown" if is_old else "waiting"
