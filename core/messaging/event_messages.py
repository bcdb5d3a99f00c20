"""Messages that carry several events for the handlers of one service, each with its own metadata.

The bridge sends an event as the plain task of its handler, or together with others. So an old worker, which does not
know the second form, can still be sent each event on its own.
"""

from typing import Any

import msgspec

from .task_queue import Envelope

HANDLE_EVENTS = "handle_events"  # the task ``<service>.handle_events``


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one handler."""

    handler: str
    task_id: str
    event: Any
    envelope: Envelope
