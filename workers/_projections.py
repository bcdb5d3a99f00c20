"""Projections: rows that follow from events alone, and can be made anew from them.

The rows of one key follow from the events of that key, so that a rebuild replaces them key by key, each in one
transaction: readers find the old rows or the new ones, never none.
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
    """How the rows of one key are taken away, and how each of its events brings them back."""

    forget: Forget
    folds: dict[EventClass, Fold]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.folds]

    @property
    def topic(self) -> str:
        (topic,) = {event.topic for event in self.folds}  # else there would be no one order of a key's events
        return topic

    def rebuild(self, session: Session, key: str, events: Sequence[tuple[EventClass, Any, int | None]]) -> None:
        """Replace the rows of ``key`` by what ``events``, in their order, make."""
        # What refers to the rows finds them again at the commit.
        session.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        self.forget(session, key)
        for event_class, payload, version in events:
            fold = self.folds[event_class]
            versioned = {"event_version": version} if "event_version" in signature(fold).parameters else {}
            fold(session, event=msgspec.convert(payload, event_class), **versioned)
        session.flush()


PROJECTIONS: dict[str, Projection] = {}  # by "<service>.<what>"


def projection(name: str, *, forget: Forget, folds: Sequence[Fold], for_days_only: bool = False) -> None:
    """Declare that ``forget(session, key)`` and the ``folds(session, *, event)`` of its events rebuild ``name``.

    A fold does nothing but keep rows, and does no harm when it comes twice. Raises TypeError for an event that is not
    ``kept_for_good``, unless ``for_days_only``: where the rows matter no longer than the outbox has the events anyway.
    """
    made_of: dict[EventClass, Fold] = {get_type_hints(fold)["event"]: fold for fold in folds}
    for event in made_of:
        if not (event.kept_for_good or for_days_only):
            raise TypeError(f"{event.type} is pruned, so {name} could not be made anew")
    PROJECTIONS[name] = Projection(forget, made_of)


class PastEvent(msgspec.Struct):
    """An event as it lies in an outbox."""

    type: str
    payload: dict[str, Any]
    version: int | None = None  # of its aggregate


@task_of_every_service
def list_projections() -> dict[str, Any]:
    """Every projection of the service: {name: {"topic", "types"}}."""
    return {name: {"topic": each.topic, "types": each.types} for name, each in PROJECTIONS.items()}


@task_of_every_service
def rebuild_projection(session: Session, *, name: str, key: str, events: list[PastEvent]) -> None:
    """Make the rows of one key anew from all its events."""
    told = [(Event.by_type[event.type], event.payload, event.version) for event in events]
    PROJECTIONS[name].rebuild(session, key, told)
