"""Projections: tables that are derived from events alone and can be rebuilt from them.

The rows of a key depend on the events of that key only. A rebuild therefore replaces the rows key by key, each in one
transaction: readers see the old rows or the new ones (docs/decisions/0015).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, get_type_hints

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.log import get_logger
from models.commands.common import StoredEvent
from models.events import Event, EventClass

from .tasks import per_service_task

log = get_logger(__name__)

ClearRows = Callable[[Session, str], None]
EventHandler = Callable[..., None]  # (session, *, event), or (session, *, event, event_version)


@dataclass(frozen=True)
class Projection:
    """How to delete the rows of a key and how to apply each event type (``handlers``) to rebuild them."""

    clear_rows: ClearRows
    handlers: dict[EventClass, EventHandler]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.handlers]

    @property
    def topic(self) -> str:
        (topic,) = {event.topic for event in self.handlers}  # one topic only: events of two topics have no common order
        return topic

    def rebuild(self, session: Session, key: str, events: Sequence[tuple[EventClass, Any, int | None]]) -> None:
        """Delete the rows of ``key`` and apply ``events`` (class, payload, aggregate version) in order."""
        # Foreign keys to the deleted rows are checked at the commit, when the rows exist again.
        session.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        self.clear_rows(session, key)
        for event_class, payload, version in events:
            handler = self.handlers[event_class]
            versioned = {"event_version": version} if "event_version" in signature(handler).parameters else {}
            handler(session, event=msgspec.convert(payload, event_class), **versioned)
        session.flush()


PROJECTIONS: dict[str, Projection] = {}  # by "<service>.<projection>"


def projection(
    name: str, *, clear_rows: ClearRows, handlers: Sequence[EventHandler], short_lived: bool = False
) -> None:
    """Register the projection ``name``: ``clear_rows(session, key)`` deletes the rows of a key, ``handlers`` rebuild
    them.

    A handler ``(session, *, event)`` only writes rows and is safe to repeat. Raises TypeError for an event type that
    the outbox does not keep forever (``retained_forever``), unless ``short_lived`` is set: for rows that are not needed
    longer than the outbox keeps the events.
    """
    handler_by_event: dict[EventClass, EventHandler] = {
        get_type_hints(handler)["event"]: handler for handler in handlers
    }
    for event in handler_by_event:
        if not (event.retained_forever or short_lived):
            raise TypeError(f"{event.type} is pruned, so {name} cannot be rebuilt")
    PROJECTIONS[name] = Projection(clear_rows, handler_by_event)


@per_service_task
def list_projections() -> dict[str, Any]:
    """Return the projections of the service: {name: {"topic", "types"}}."""
    return {name: {"topic": each.topic, "types": each.types} for name, each in PROJECTIONS.items()}


@per_service_task
def rebuild_projection(session: Session, *, name: str, key: str, events: list[StoredEvent]) -> None:
    """Rebuild the rows of one key from all its events."""
    typed_events = [(Event.by_type[event.type], event.payload, event.version) for event in events]
    PROJECTIONS[name].rebuild(session, key, typed_events)
