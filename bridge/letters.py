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
from models.base import sessions
from models.deadletters import DeadLetter, close, lock_key, name_of, next_open_letter
from models.errors import DomainError
from models.log import get_logger

from .asking import WorkerFailed, ask
from .lanes import attributes_of

log = get_logger(__name__)


class NoSuchLetter(Exception):
    """``args[0]`` is not the name of a dead letter."""


@dataclass(frozen=True)
class Replayed:
    """The result of replaying one dead letter; ``error`` is None if its handler committed."""

    letter: str
    error: str | None


def every_letter(*, status: str = "open") -> Iterator[DeadLetter]:
    """Yield the dead letters of all services; those of one service in the order in which they were stored."""
    for service in settings.SERVICES:
        wanted = select(DeadLetter).where(DeadLetter.handler.startswith(f"{service}."), DeadLetter.status == status)
        with sessions(service).begin() as session:
            letters = list(session.scalars(wanted.order_by(DeadLetter.seq)))
        yield from letters


def find(name: str) -> DeadLetter:
    """Return the dead letter ``name``. Raises NoSuchLetter."""
    service, _, seq = name.partition("-")
    if service in settings.SERVICES and seq.isdecimal():
        with sessions(service).begin() as session:
            letter = session.get(DeadLetter, int(seq))
        if letter and _service_of(letter.handler) == service:
            return letter
    raise NoSuchLetter(name)


def replay(handler: str, key: str) -> Iterator[Replayed]:
    """Send the open dead letters of ``key`` to ``handler`` again until none is left or one fails.

    Safe to repeat, also concurrently: the inbox makes the handler skip events that it has processed.
    """
    letter = _next_after(handler, key, None)
    while letter:
        outcome = Replayed(name_of(letter), _error_of(letter))
        yield outcome
        if outcome.error:
            return
        letter = _next_after(handler, key, letter)


def discard(letter: DeadLetter, *, reason: str) -> None:
    """Close ``letter`` without handling it; dead letters behind it can be replayed afterwards."""
    with sessions(_service_of(letter.handler)).begin() as session:
        lock_key(session, letter.handler, letter.key)
        close(session, letter, "discarded", reason=f"{letter.reason}; discarded: {reason}")
    log.info("dead letter discarded", letter=name_of(letter), reason=reason)


def _error_of(letter: DeadLetter) -> str | None:
    headers: dict[str, Any] = letter.headers
    try:
        ask(
            letter.handler,
            {"event": letter.payload},
            event_id=str(letter.event_id),
            event_headers=attributes_of(headers),
            request_id=headers.get("ce_correlationid"),
            traceparent=headers.get("traceparent"),
        )
    except (DomainError, WorkerFailed) as error:
        return str(error)
    return None


def _next_after(handler: str, key: str, done: DeadLetter | None) -> DeadLetter | None:
    with sessions(_service_of(handler)).begin() as session:
        return next_open_letter(session, handler, key, done=done)


def _service_of(handler: str) -> str:
    return handler.partition(".")[0]
