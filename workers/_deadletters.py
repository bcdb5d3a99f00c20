"""Tasks behind the HTTP API for dead letters: every service lists and replays the dead letters of its own handlers."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from celery_app import Envelope, new_task_id
from models.deadletters import DeadLetter, name_of, next_open_letter
from models.errors import DeadLetterClosed, DomainError, NotFound, TaskUnknown

from ._delivery import Delivery, Sessions
from ._tasks import CALLS, deliver, task_of_every_service
from .resources import resource

REPLAY_SECONDS = 3  # an HTTP client waits for the reply; the next request replays the rest

Handle = Callable[[DeadLetter], str | None]


@resource
def handle(_delivery: Delivery) -> Iterator[Handle]:
    """``handle(letter)`` executes the handler of a dead letter with its event, as a message of the bridge would.

    It returns the error text, or None on success.
    """

    def carry_out(letter: DeadLetter) -> str | None:
        envelope = Envelope(
            request_id=letter.headers.get("ce_correlationid"),
            traceparent=letter.headers.get("traceparent"),
            event_id=str(letter.event_id),
            event_headers={name: value for name, value in letter.headers.items() if name.startswith("ce_")},
        )
        call = CALLS.get(letter.handler)
        if call is None:
            return str(TaskUnknown(letter.handler))
        delivery = Delivery(task=letter.handler, task_id=new_task_id(), envelope=envelope)
        deliver(call, delivery, {"event": letter.payload})
        if error := delivery.answer.get("error"):
            return str(DomainError.from_wire(error))
        return None if "result" in delivery.answer else "The handler crashed; it has been logged."

    yield carry_out


@task_of_every_service
def list_dead_letters(session: Session, *, service: str, status: str, limit: int, after: int) -> list[dict[str, Any]]:
    """Return at most ``limit`` dead letters of a service with a number above ``after``, the oldest first."""
    wanted = select(DeadLetter).where(
        DeadLetter.handler.startswith(f"{service}."), DeadLetter.status == status, DeadLetter.seq > after
    )
    return [_view(letter) for letter in session.scalars(wanted.order_by(DeadLetter.seq).limit(limit))]


@task_of_every_service
def replay_dead_letters(sessions: Sessions, handle: Handle, *, service: str, seq: int) -> dict[str, Any]:
    """Replay the open dead letters that have the handler and key of ``seq``, the oldest first.

    Stops at the first failure and after REPLAY_SECONDS. Returns {"replayed": [ids], "failed": {"id", "error"} or None,
    "left": number of dead letters still open}. Safe to repeat, because the inbox skips events that were processed.
    Raises NotFound, DeadLetterClosed.
    """
    until = time.monotonic() + REPLAY_SECONDS
    with sessions.begin() as session:
        named = _letter(session, service, seq)
    replayed: list[str] = []
    error: str | None = None
    with sessions.begin() as session:
        letter = next_open_letter(session, named.handler, named.key, done=None)
    while letter and error is None and time.monotonic() < until:
        if (error := handle(letter)) is None:
            replayed.append(name_of(letter))
            with sessions.begin() as session:
                letter = next_open_letter(session, named.handler, named.key, done=letter)
    failed = {"id": name_of(letter), "error": error} if letter and error else None
    with sessions.begin() as session:
        left = _count_open(session, named)
        return sessions.answer(session, {"replayed": replayed, "failed": failed, "left": left})


def _letter(session: Session, service: str, seq: int) -> DeadLetter:
    """Return an open dead letter of ``service``. Raises NotFound, DeadLetterClosed."""
    letter = session.get(DeadLetter, seq)
    if letter is None or not letter.handler.startswith(f"{service}."):
        raise NotFound("dead letter", f"{service}-{seq}")
    if letter.status != "open":
        raise DeadLetterClosed(letter.status)
    return letter


def _count_open(session: Session, named: DeadLetter) -> int:
    """Count the open dead letters with the handler and key of ``named``."""
    same_key = DeadLetter.handler == named.handler, DeadLetter.key == named.key
    waiting = select(func.count()).select_from(DeadLetter).where(*same_key, DeadLetter.status == "open")
    return session.scalars(waiting).one()


def _view(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": name_of(letter),
        "handler": letter.handler,
        "event_id": letter.event_id,
        "event_type": letter.type,
        "key": letter.key,
        "status": letter.status,
        "reason": letter.reason,
        "created_at": letter.created_at,
        "closed_at": letter.closed_at,
    }
