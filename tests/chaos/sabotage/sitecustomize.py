"""Loaded by each Python process of a sabotaged stack; applies the sabotage named in the file STATE_DIR/sabotage.

Most sabotages remove one guard of the product. They are applied before the modules of the product import the guard.
"""

# ruff: noqa: PLC0415, SLF001 patches private names of modules before their first import

import os
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path


def _without_inbox() -> None:
    from core.bus import inbox
    from core.messaging.event_messages import ReceivedEvent
    from core.messaging.task_queue import Envelope

    original = inbox.claim_event
    inbox.claim_event = lambda *claim: original(*claim) or True
    # Remove the second guard too: handlers ignore an event whose version is older than their state.
    Envelope.event_version = property(lambda _envelope: None)
    ReceivedEvent.event_version = property(lambda _event: None)


def _without_idempotency_claim() -> None:
    from core.bus import idempotency

    idempotency.claim_key = lambda *_claim, **_lease: None


def _without_row_lock() -> None:
    from models.progress import CourseProgress, course_progress

    course_progress._READ_FOR_UPDATE._for_update_arg = None
    original = CourseProgress.read_for_update.__func__

    def unlocked(cls, session, *key):
        found = original(cls, session, *key)
        _wait_for_second_reader("-".join(map(str, key)))
        return found

    CourseProgress.read_for_update = classmethod(unlocked)


def _wait_for_second_reader(name: str, seconds: float = 10) -> None:
    """Wait until two transactions, of this process or another one, have read the row ``name``."""
    readers = Path(os.environ["STATE_DIR"], "readers", name)
    readers.mkdir(parents=True, exist_ok=True)
    (readers / str(uuid.uuid4())).touch()
    deadline = time.monotonic() + seconds
    while len(list(readers.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)


def _without_advisory_lock() -> None:
    from bridge.publisher import relay

    relay._LEADER_LOCK = "SELECT true"
    _slow_relay()


def _slow_relay() -> None:
    """Slow the relay down, so that a second leader sends the same events. One leader alone stays correct."""
    from bridge.publisher.relay import Publisher

    original = Publisher._send

    def slow(self, rows):
        sent = original(self, rows)
        time.sleep(1.5)
        return sent

    Publisher._send = slow


def _commit_without_completion() -> None:
    from bridge.consumer.key_ordering import KeyOrderedBuffer

    def all_of_them(self):
        further = {partition: read for partition, read in self._next.items() if read > self._stored[partition]}
        self._stored |= further
        return further

    KeyOrderedBuffer.committable_offsets = all_of_them


def _crash_between_pop_and_unacked() -> None:
    """Add a crash point between the pop of a message and its entry in the unacked hash."""
    from core.fault_injection import crash_point
    from core.messaging.celery_transport import QoS

    original = QoS.append

    def append(self, message, tag):
        crash_point("popped, not yet noted", message.headers["task"])
        return original(self, message, tag)

    QoS.append = append


def _commit(sabotage: str) -> None:
    # Only for Celery's workers and the bridge; sys.argv is not set yet.
    if {"workers", "bridge"} & set(sys.orig_argv):
        sys.path.insert(0, str(Path(__file__).parents[3]))
        globals()[f"_{sabotage}"]()


with suppress(FileNotFoundError, KeyError):
    _commit(Path(os.environ["STATE_DIR"], "sabotage").read_text())
