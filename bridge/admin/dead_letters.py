"""Operators' actions on dead letters: list, show, replay, discard.

A dead letter is named ``<service>-<seq>``. Those of one key are replayed in order, each after the previous one is
done. A dead letter stays open during its replay, so that the running bridge parks newer events of the key behind it;
the key is free when no dead letter is open.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

import settings
from bridge.record import cloudevent_attributes
from core.bus.dead_letters import DeadLetter, close, dead_letter_id, lock_partition_key, next_open_dead_letter
from core.db import session_factory
from core.log import get_logger
from core.messaging.rpc import TaskCrashed, call_task
from models.errors import DomainError

log = get_logger(__name__)


class DeadLetterNotFound(Exception):
    """``args[0]`` is not the name of a dead letter."""


@dataclass(frozen=True)
class ReplayResult:
    """The result of replaying one dead letter; ``error`` is None if its handler committed."""

    dead_letter: str
    error: str | None


def iter_dead_letters(*, status: str = "open") -> Iterator[DeadLetter]:
    """Yield the dead letters of all services; those of one service in the order in which they were stored."""
    for service in settings.SERVICES:
        wanted = select(DeadLetter).where(DeadLetter.handler.startswith(f"{service}."), DeadLetter.status == status)
        with session_factory(service).begin() as session:
            dead_letters = list(session.scalars(wanted.order_by(DeadLetter.seq)))
        yield from dead_letters


def get_dead_letter(name: str) -> DeadLetter:
    """Return the dead letter ``name``. Raises DeadLetterNotFound."""
    service, _, seq = name.partition("-")
    if service in settings.SERVICES and seq.isdecimal():
        with session_factory(service).begin() as session:
            dead_letter = session.get(DeadLetter, int(seq))
        if dead_letter and _service_of(dead_letter.handler) == service:
            return dead_letter
    raise DeadLetterNotFound(name)


def replay(handler: str, key: str) -> Iterator[ReplayResult]:
    """Send the open dead letters of ``key`` to ``handler`` again until none is left or one fails.

    Safe to repeat, also concurrently: the inbox makes the handler skip events that it has processed.
    """
    dead_letter = _next_open(handler, key, None)
    while dead_letter:
        outcome = ReplayResult(dead_letter_id(dead_letter), _replay_one(dead_letter))
        yield outcome
        if outcome.error:
            return
        dead_letter = _next_open(handler, key, dead_letter)


def discard(dead_letter: DeadLetter, *, reason: str) -> None:
    """Close ``dead_letter`` without handling it; dead letters behind it can be replayed afterwards."""
    with session_factory(_service_of(dead_letter.handler)).begin() as session:
        lock_partition_key(session, dead_letter.handler, dead_letter.key)
        close(session, dead_letter, "discarded", reason=f"{dead_letter.reason}; discarded: {reason}")
    log.info("dead letter discarded", dead_letter=dead_letter_id(dead_letter), reason=reason)


def _replay_one(dead_letter: DeadLetter) -> str | None:
    headers: dict[str, Any] = dead_letter.headers
    try:
        call_task(
            dead_letter.handler,
            {"event": dead_letter.payload},
            event_id=str(dead_letter.event_id),
            event_headers=cloudevent_attributes(headers),
            request_id=headers.get("ce_correlationid"),
            traceparent=headers.get("traceparent"),
        )
    except (DomainError, TaskCrashed) as error:
        return str(error)
    return None


def _next_open(handler: str, key: str, done: DeadLetter | None) -> DeadLetter | None:
    with session_factory(_service_of(handler)).begin() as session:
        return next_open_dead_letter(session, handler, key, replayed=done)


def _service_of(handler: str) -> str:
    return handler.partition(".")[0]
