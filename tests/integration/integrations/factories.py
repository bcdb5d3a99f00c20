"""Factories of events in the event feed and of webhook endpoints."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from core.db import new_id, utc_now
from core.messaging.event_messages import ReceivedEvent
from models.events import CoursePurchased, Event
from models.integrations import Endpoint, EventLogEntry, WebhookDelivery
from tests.support.events import build_event


def headers_of(event: Event, *, sequence: int = 1, **more: str) -> dict[str, str]:
    """Return the headers of an event as Kafka carries them."""
    return {
        "ce_type": event.type,
        "ce_source": f"/{event.topic}",
        "ce_subject": "some",
        "ce_sequence": str(sequence),
        "ce_time": utc_now().isoformat(),
        "ce_dataschema": f"https://coursebus.dev/schemas/{event.type}/1",
        **more,
    }


def append_to_event_log(session: Session, event: Event | None = None, **more: str) -> UUID:
    """Append an event to the feed; returns its id."""
    event, event_id = event or build_event(CoursePurchased), new_id()
    headers, payload = headers_of(event, **more), msgspec.to_builtins(event)
    assert EventLogEntry.append(session, [ReceivedEvent(event=payload, event_id=event_id, event_headers=headers)])
    return event_id


def make_endpoint(session: Session, url: str = "http://127.0.0.1:9/hook", *event_types: str) -> Endpoint:
    endpoint = Endpoint.create(url=url, description="", event_types=list(event_types), at=utc_now())
    session.add(endpoint)
    session.flush()
    return endpoint


def append_and_schedule(session: Session, event: Event | None = None) -> UUID:
    """Append an event and schedule its deliveries."""
    event = event or build_event(CoursePurchased)
    event_id = append_to_event_log(session, event)
    WebhookDelivery.schedule(session, {event_id: event.type}, at=utc_now())
    return event_id


def deliveries(session: Session, **filters: Any) -> list[WebhookDelivery]:
    session.flush()
    session.expire_all()
    return list(session.query(WebhookDelivery).filter_by(**filters).order_by(WebhookDelivery.id))
