"""The bridge without Kafka: delivers the events of all services to their handlers until no event is left."""

from bridge.admin.past_events import iter_past_events
from bridge.record import Record, cloudevent_attributes
from core.bus.outbox import OutboxEvent
from models.errors import DomainError
from models.events.routes import ROUTES
from settings import SERVICES
from tests.support.databases import Database
from tests.support.deliveries import deliver

_ROUNDS = 50


def deliver_pending_events(database: Database, *, excluded_handlers: tuple[str, ...] = ()) -> list[str]:
    """Deliver every event to its handlers in order; returns the event types. ``excluded_handlers`` are skipped."""
    delivered = []
    for _ in range(_ROUNDS):
        pending = [
            record for service in SERVICES for record in iter_past_events(service, OutboxEvent.published_at.is_(None))
        ]
        if not pending:
            return delivered
        for record in sorted(pending, key=lambda each: each.offset):
            handlers = [handler for handler in ROUTES.get(record.type, []) if handler not in excluded_handlers]
            # As in the bridge, a postponed handler runs again, and an event is done when all its handlers have
            # committed.
            done = [_handled(handler, record) for handler in handlers]
            if all(done):
                database.execute("UPDATE bus.outbox SET published_at = now() WHERE id = :id", id=record.event_id)
                delivered.append(record.type)
    raise AssertionError(f"events are still pending: {pending}")


def _handled(handler: str, record: Record) -> bool:
    reply = deliver(
        handler,
        {"event": record.value},
        event_id=record.event_id,
        event_headers=cloudevent_attributes(record.headers),
    )
    if error := reply.get("error"):
        assert DomainError.from_wire(error).transient, (handler, reply)
        return False
    assert "result" in reply, (handler, reply)
    return True
