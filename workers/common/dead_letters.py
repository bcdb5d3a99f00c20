"""Tasks behind the HTTP API for dead letters: every service lists and replays the dead letters of its own handlers."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.bus.dead_letters import DeadLetter, dead_letter_id, next_open_dead_letter
from core.messaging.task_queue import Envelope, new_task_id
from models.errors import DeadLetterClosed, DomainError, NotFound, TaskUnknown
from workers.runtime.dependencies import dependency
from workers.runtime.execution import TaskExecution, Transactions
from workers.runtime.tasks import TASKS, execute_message, per_service_task

REPLAY_TIME_BUDGET_SECONDS = 3  # an HTTP client waits for the reply; the next request replays the rest

ReplayHandler = Callable[[DeadLetter], str | None]


@dependency
def replay_handler(_execution: TaskExecution) -> Iterator[ReplayHandler]:
    """``replay_handler(dead_letter)`` executes the handler of a dead letter with its event, as a message of the bridge
    would.

    It returns the error text, or None on success.
    """

    def run(dead_letter: DeadLetter) -> str | None:
        envelope = Envelope(
            request_id=dead_letter.headers.get("ce_correlationid"),
            traceparent=dead_letter.headers.get("traceparent"),
            event_id=str(dead_letter.event_id),
            event_headers={name: value for name, value in dead_letter.headers.items() if name.startswith("ce_")},
        )
        definition = TASKS.get(dead_letter.handler)
        if definition is None:
            return str(TaskUnknown(dead_letter.handler))
        execution = TaskExecution(task=dead_letter.handler, task_id=new_task_id(), envelope=envelope)
        execute_message(definition, execution, {"event": dead_letter.payload})
        if error := execution.response.get("error"):
            return str(DomainError.from_wire(error))
        return None if "result" in execution.response else "The handler crashed; it has been logged."

    yield run


@per_service_task
def list_dead_letters(session: Session, *, service: str, status: str, limit: int, after: int) -> list[dict[str, Any]]:
    """Return at most ``limit`` dead letters of a service with a number above ``after``, the oldest first."""
    wanted = select(DeadLetter).where(
        DeadLetter.handler.startswith(f"{service}."), DeadLetter.status == status, DeadLetter.seq > after
    )
    return [_to_response(dead_letter) for dead_letter in session.scalars(wanted.order_by(DeadLetter.seq).limit(limit))]


@per_service_task
def replay_dead_letters(
    transactions: Transactions, replay_handler: ReplayHandler, *, service: str, seq: int
) -> dict[str, Any]:
    """Replay the open dead letters that have the handler and key of ``seq``, the oldest first.

    Stops at the first failure and after REPLAY_TIME_BUDGET_SECONDS. Returns {"replayed": [ids], "failed": {"id",
    "error"} or None, "remaining": number of dead letters still open}. Safe to repeat, because the inbox skips events
    that were processed. Raises NotFound, DeadLetterClosed.
    """
    until = time.monotonic() + REPLAY_TIME_BUDGET_SECONDS
    with transactions.begin() as session:
        target = _get_open_dead_letter(session, service, seq)
    replayed: list[str] = []
    error: str | None = None
    with transactions.begin() as session:
        dead_letter = next_open_dead_letter(session, target.handler, target.key, replayed=None)
    while dead_letter and error is None and time.monotonic() < until:
        if (error := replay_handler(dead_letter)) is None:
            replayed.append(dead_letter_id(dead_letter))
            with transactions.begin() as session:
                dead_letter = next_open_dead_letter(session, target.handler, target.key, replayed=dead_letter)
    failed = {"id": dead_letter_id(dead_letter), "error": error} if dead_letter and error else None
    with transactions.begin() as session:
        remaining = _count_open(session, target)
        return transactions.complete(session, {"replayed": replayed, "failed": failed, "remaining": remaining})


def _get_open_dead_letter(session: Session, service: str, seq: int) -> DeadLetter:
    """Return an open dead letter of ``service``. Raises NotFound, DeadLetterClosed."""
    dead_letter = session.get(DeadLetter, seq)
    if dead_letter is None or not dead_letter.handler.startswith(f"{service}."):
        raise NotFound("dead letter", f"{service}-{seq}")
    if dead_letter.status != "open":
        raise DeadLetterClosed(dead_letter.status)
    return dead_letter


def _count_open(session: Session, target: DeadLetter) -> int:
    """Count the open dead letters with the handler and key of ``target``."""
    same_key = DeadLetter.handler == target.handler, DeadLetter.key == target.key
    waiting = select(func.count()).select_from(DeadLetter).where(*same_key, DeadLetter.status == "open")
    return session.scalars(waiting).one()


def _to_response(dead_letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": dead_letter_id(dead_letter),
        "handler": dead_letter.handler,
        "event_id": dead_letter.event_id,
        "event_type": dead_letter.type,
        "key": dead_letter.key,
        "status": dead_letter.status,
        "reason": dead_letter.reason,
        "created_at": dead_letter.created_at,
        "closed_at": dead_letter.closed_at,
    }
