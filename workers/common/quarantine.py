"""Tasks behind the HTTP API for quarantined events: outbox rows that Kafka refused permanently."""

from typing import Any

import msgspec
from sqlalchemy.orm import Session

from core.bus.quarantine import iter_quarantined, release
from workers.runtime.tasks import per_service_task


@per_service_task
def list_quarantined(session: Session, *, service: str, limit: int, after: int) -> list[dict[str, Any]]:
    """Return the quarantined events of a service with a number above ``after``, the oldest first."""
    return [msgspec.to_builtins(event) for event in iter_quarantined(session, service, after=after, limit=limit)]


@per_service_task
def release_quarantined(session: Session, *, service: str, seq: int) -> dict[str, Any]:
    """Release an event and the later ones of its key for publication; return their number. Raises NotFound."""
    return {"released": release(session, service, seq)}
