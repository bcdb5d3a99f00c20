"""Messages that carry several events for the handlers of one service, each with its own metadata.

The bridge sends an event as the plain task of its handler, or together with others. So an old worker, which does not
know the second form, can still be sent each event on its own.
"""

from typing import Any
from uuid import UUID

import msgspec

from .task_queue import Envelope

HANDLE_EVENTS = "handle_events"  # the task ``<service>.handle_events``


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one handler."""

    handler: str
    task_id: str
    event: Any
    envelope: Envelope


class ReceivedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of any type, as a handler gets it that takes all events of a message at once."""

    event: dict[str, Any]
    event_id: UUID
    event_headers: dict[str, str]
    # ``correlation_ids()`` of its handling, for what the handler starts: those of the context are of the first event.
    cause: dict[str, str] = {}

    @property
    def event_version(self) -> int | None:
        """Return the version of the event's aggregate (``ce_sequence``); None if the headers do not contain it."""
        sequence = self.event_headers.get("ce_sequence")
        return int(sequence) if sequence else None
