"""Tasks behind the HTTP API for quarantined events: outbox rows that Kafka refused permanently."""

from typing import Any

import msgspec
from sqlalchemy.orm import Session

from models.quarantine import quarantined, release

from ._tasks import task_of_every_service


@task_of_every_service
def list_quarantined(session: Session, *, service: str, limit: int, after: int) -> list[dict[str, Any]]:
    """Return the quarantined events of a service with a number above ``after``, the oldest first."""
    return [msgspec.to_builtins(event) for event in quarantined(session, service, after=after, limit=limit)]


@task_of_every_service
def release_quarantined(session: Session, *, service: str, seq: int) -> dict[str, Any]:
    """Release an event and the later ones of its key for publication; return their number. Raises NotFound."""
    return {"released": release(session, service, seq)}
