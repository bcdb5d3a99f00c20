"""Loaded by each Python of a sabotaged stack: does to it what the file STATE_DIR/sabotage names, mostly taking out
the one guard that a test is about.

The product knows nothing of it; what is replaced here is replaced before the product's own modules import it.
"""

# ruff: noqa: PLC0415, SLF001 it reaches into what is about to be imported

import os
import sys
import time
from contextlib import suppress
from pathlib import Path


def _without_inbox() -> None:
    from core.bus import inbox
    from core.messaging.task_queue import Envelope

    kept = inbox.claim_event
    inbox.claim_event = lambda *claim: kept(*claim) or True
    # The second guard: handlers that know its version ignore an event older than their state.
    Envelope.event_version = property(lambda _envelope: None)


def _without_idempotency_claim() -> None:
    from core.bus import idempotency

    idempotency.claim_key = lambda *_claim, **_lease: None


def _without_row_lock() -> None:
    from models.progress import CourseProgress

    kept = CourseProgress.get_for_update.__func__

    def unlocked(cls, session, *key):
        get = session.get

        def without_lock(*what, with_for_update, **how):
            return get(*what, **how)

        session.get = without_lock
        found = kept(cls, session, *key)
        time.sleep(1)  # so that another is sure to read the same
        return found

    CourseProgress.get_for_update = classmethod(unlocked)


def _without_advisory_lock() -> None:
    from bridge.publisher import relay

    relay._LEADER_LOCK = "SELECT true"
    _slow_relay()


def _slow_relay() -> None:
    """Harmless while one relay leads: a second one would send the same meanwhile."""
    from bridge.publisher.relay import Publisher

    kept = Publisher._send

    def slow(self, rows):
        sent = kept(self, rows)
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
    """A crash point between the two steps by which kombu takes a message off its queue and notes it as in hand."""
    from kombu.transport.redis import QoS

    from core.fault_injection import crash_point

    kept = QoS.append

    def append(self, message, tag):
        crash_point("popped, not yet noted", message.headers["task"])
        return kept(self, message, tag)

    QoS.append = append


def _commit(sabotage: str) -> None:
    # Only Celery's workers and the bridge; the command line is not split up yet.
    if {"celery", "bridge"} & set(sys.orig_argv):
        sys.path.insert(0, str(Path(__file__).parents[3]))
        globals()[f"_{sabotage}"]()


with suppress(FileNotFoundError, KeyError):
    _commit(Path(os.environ["STATE_DIR"], "sabotage").read_text())
