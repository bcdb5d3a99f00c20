"""The bridge without Kafka: what services have told is carried to whoever listens, until all is quiet."""

from bridge.admin.past_events import iter_past_events
from bridge.consumer.key_ordering import Record, cloudevent_attributes
from bridge.routes import ROUTES
from core.bus.outbox import OutboxEvent
from models.errors import DomainError
from settings import SERVICES
from tests.support.databases import Database
from tests.support.deliveries import deliver

_ROUNDS = 50


def deliver_pending_events(
    database: Database, *, twice: bool = False, excluded_handlers: tuple[str, ...] = ()
) -> list[str]:
    """Deliver every event to its handlers, in order; returns their types. ``without`` leaves handlers out."""
    carried = []
    for _ in range(_ROUNDS):
        told = [
            record for service in SERVICES for record in iter_past_events(service, OutboxEvent.published_at.is_(None))
        ]
        if not told:
            return carried
        for record in sorted(told, key=lambda each: each.offset):
            handlers = [handler for handler in ROUTES.get(record.type, []) if handler not in excluded_handlers]
            # As the bridge: one that was put off is asked again, and the event is done when all have committed.
            done = [_handled(handler, record, twice=twice) for handler in handlers]
            if all(done):
                database.execute("UPDATE bus.outbox SET published_at = now() WHERE id = :id", id=record.event_id)
                carried.append(record.type)
    raise AssertionError(f"it never gets quiet: {told}")


def _handled(handler: str, record: Record, *, twice: bool) -> bool:
    for _ in range(2 if twice else 1):
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
