"""What people do with dead letters: look at them, replay them, discard them.

A letter is named ``<service>-<seq>``. The letters of a key go in their order, each when the one before it is done; a
letter stays open while it is on its way, so that the running bridge parks newer events behind it, and finds the key
free once none is open.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

import celery_app
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
    """How the replay of one letter ended: ``error`` is None where its handler has committed."""

    letter: str
    error: str | None


def every_letter(*, status: str = "open") -> Iterator[DeadLetter]:
    """The letters of all services, in the order in which they came."""
    for service in celery_app.SERVICES:
        wanted = select(DeadLetter).where(DeadLetter.handler.startswith(f"{service}."), DeadLetter.status == status)
        with sessions(service).begin() as session:
            letters = list(session.scalars(wanted.order_by(DeadLetter.seq)))
        yield from letters


def find(name: str) -> DeadLetter:
    """The letter of this name. Raises NoSuchLetter."""
    service, _, seq = name.partition("-")
    if service in celery_app.SERVICES and seq.isdecimal():
        with sessions(service).begin() as session:
            letter = session.get(DeadLetter, int(seq))
        if letter and _service_of(letter.handler) == service:
            return letter
    raise NoSuchLetter(name)


def replay(handler: str, key: str) -> Iterator[Replayed]:
    """Send the open letters of ``key`` to ``handler`` again, until none is left or one fails once more.

    Safe to repeat, and to do twice at the same time: the handler's inbox passes over what it has done.
    """
    letter = _next_after(handler, key, None)
    while letter:
        outcome = Replayed(name_of(letter), _error_of(letter))
        yield outcome
        if outcome.error:
            return
        letter = _next_after(handler, key, letter)


def discard(letter: DeadLetter, *, reason: str) -> None:
    """Never handle ``letter``; what waits behind it may be replayed then."""
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
