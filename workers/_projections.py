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

from models.events import Event, EventClass
from models.log import get_logger

from ._tasks import task_of_every_service

log = get_logger(__name__)

Forget = Callable[[Session, str], None]
Fold = Callable[..., None]  # (session, *, event), or (session, *, event, event_version)


@dataclass(frozen=True)
class Projection:
    """How to delete the rows of a key and how to apply each event type (``folds``) to rebuild them."""

    forget: Forget
    folds: dict[EventClass, Fold]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.folds]

    @property
    def topic(self) -> str:
        (topic,) = {event.topic for event in self.folds}  # one topic only: events of two topics have no common order
        return topic

    def rebuild(self, session: Session, key: str, events: Sequence[tuple[EventClass, Any, int | None]]) -> None:
        """Delete the rows of ``key`` and apply ``events`` (class, payload, aggregate version) in order."""
        # Foreign keys to the deleted rows are checked at the commit, when the rows exist again.
        session.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        self.forget(session, key)
        for event_class, payload, version in events:
            fold = self.folds[event_class]
            versioned = {"event_version": version} if "event_version" in signature(fold).parameters else {}
            fold(session, event=msgspec.convert(payload, event_class), **versioned)
        session.flush()


PROJECTIONS: dict[str, Projection] = {}  # by "<service>.<projection>"


def projection(name: str, *, forget: Forget, folds: Sequence[Fold], for_days_only: bool = False) -> None:
    """Register the projection ``name``: ``forget(session, key)`` deletes the rows of a key, ``folds`` rebuild them.

    A fold ``(session, *, event)`` only writes rows and is safe to repeat. Raises TypeError for an event type that the
    outbox does not keep forever (``kept_for_good``), unless ``for_days_only`` is set: for rows that are not needed
    longer than the outbox keeps the events.
    """
    made_of: dict[EventClass, Fold] = {get_type_hints(fold)["event"]: fold for fold in folds}
    for event in made_of:
        if not (event.kept_for_good or for_days_only):
            raise TypeError(f"{event.type} is pruned, so {name} could not be made anew")
    PROJECTIONS[name] = Projection(forget, made_of)


class PastEvent(msgspec.Struct):
    """An event as stored in an outbox."""

    type: str
    payload: dict[str, Any]
    version: int | None = None  # of its aggregate


@task_of_every_service
def list_projections() -> dict[str, Any]:
    """Return the projections of the service: {name: {"topic", "types"}}."""
    return {name: {"topic": each.topic, "types": each.types} for name, each in PROJECTIONS.items()}


@task_of_every_service
def rebuild_projection(session: Session, *, name: str, key: str, events: list[PastEvent]) -> None:
    """Rebuild the rows of one key from all its events."""
    told = [(Event.by_type[event.type], event.payload, event.version) for event in events]
    PROJECTIONS[name].rebuild(session, key, told)
