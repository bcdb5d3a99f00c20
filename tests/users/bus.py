"""The bridge without Kafka: what services have told is carried to whoever listens, until all is quiet."""

from typing import Any

from bridge.routes import ROUTES
from models.errors import DomainError, Unavailable
from tests.support.databases import Database
from tests.support.deliveries import deliver

_ROUNDS = 50


def carry(database: Database, *, twice: bool = False, without: tuple[str, ...] = ()) -> list[str]:
    """Deliver every event to its handlers, in order; returns their types. ``without`` leaves handlers out."""
    carried = []
    for _ in range(_ROUNDS):
        told = database.rows("SELECT id, type, payload FROM bus.outbox WHERE published_at IS NULL ORDER BY seq")
        if not told:
            return carried
        for event_id, type_, payload in told:
            handlers = [handler for handler in ROUTES.get(type_, []) if handler not in without]
            # As the bridge: one that was put off is asked again, and the event is done when all have committed.
            done = [_handled(handler, payload, event_id, twice=twice) for handler in handlers]
            if all(done):
                database.execute("UPDATE bus.outbox SET published_at = now() WHERE id = :id", id=event_id)
                carried.append(type_)
    raise AssertionError(f"it never gets quiet: {told}")


def _handled(handler: str, payload: dict[str, Any], event_id: Any, *, twice: bool) -> bool:
    for _ in range(2 if twice else 1):
        reply = deliver(handler, {"event": payload}, event_id=event_id)
        if error := reply.get("error"):
            assert issubclass(DomainError.by_name[error["name"]], Unavailable), (handler, reply)
            return False
        assert "result" in reply, (handler, reply)
    return True
