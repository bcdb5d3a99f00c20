"""Operations: asynchronous commands, in every service.

``accept_operation`` commits the operation before the gateway responds 202. ``run_operation`` executes its command like
a message from the queue; the answer is stored in the command's transaction. The hint that starts an operation may be
lost; ``sweep_operations`` finds such operations.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from celery_app import Envelope
from models.base import now
from models.errors import TaskUnknown
from models.idempotency import claim_from
from models.operations import Operation

from ._delivery import Delivery, Sessions, failure
from ._jobs import job_of_every_service
from ._tasks import CALLS, deliver, task_of_every_service
from .resources import Poke, resource

POKES_A_SWEEP = 100

Perform = Callable[[Operation], dict[str, Any]]


@dataclass
class OperationDelivery(Delivery):
    """The execution of an operation's command."""

    def keep_answer(self, session: Session) -> None:
        """Also store the answer in the operation, in the transaction of the command."""
        super().keep_answer(session)
        Operation.end(session, UUID(self.task_id), self.answer, at=now())


@resource
def perform(_delivery: Delivery) -> Iterator[Perform]:
    """``perform(operation)`` executes its command and returns the answer: a result, an error or a crash."""

    def carry_out(operation: Operation) -> dict[str, Any]:
        call = CALLS.get(operation.kind)
        if call is None:
            return failure(TaskUnknown(operation.kind))
        # Another release may have stored the headers: unknown fields are ignored.
        envelope = msgspec.convert({**operation.headers, "claim": operation.claim}, Envelope)
        delivery = OperationDelivery(task=operation.kind, task_id=str(operation.id), envelope=envelope)
        deliver(call, delivery, operation.message)
        return delivery.answer

    yield carry_out


@task_of_every_service
def accept_operation(
    session: Session, poke: Poke, *, kind: str, message: dict[str, Any], owner: str, claim: dict[str, Any] | None
) -> dict[str, Any]:
    """Store the command ``kind`` with its ``message`` for execution and return the operation. Raises TaskUnknown."""
    if kind not in CALLS:
        raise TaskUnknown(kind)
    operation = Operation.accept(kind=kind, message=message, owner=owner, claim=claim_from(claim))
    session.add(operation)
    _poke(poke, operation)
    return operation.view()


@task_of_every_service
def run_operation(sessions: Sessions, perform: Perform, *, operation_id: UUID) -> None:
    """Execute an operation, unless it is finished or in progress."""
    with sessions.begin() as session:
        operation = Operation.begin(session, operation_id, at=now())
    if operation is None:
        return
    answer = perform(operation)
    # Errors, and commands that do not use the ``session`` dependency, may not have stored the answer themselves.
    with sessions.begin() as session:
        Operation.end(session, operation_id, answer, at=now())


@task_of_every_service
def show_operation(session: Session, *, operation_id: UUID, owner: str) -> dict[str, Any]:
    """Return an operation of ``owner``. Raises NotFound."""
    return Operation.of(session, operation_id, owner=owner).view()


@task_of_every_service
def cancel_operation(session: Session, *, operation_id: UUID, owner: str) -> dict[str, Any]:
    """Cancel an operation that has not started. Raises NotFound, OperationBegun."""
    operation = Operation.of(session, operation_id, owner=owner, lock=True)
    operation.cancel(at=now())
    return operation.view()


@job_of_every_service(every_seconds=10)
def sweep_operations(session: Session, poke: Poke) -> None:
    """Send the hint again for operations that are due for a retry, or whose hint or worker was lost."""
    for operation in Operation.lost(session, at=now(), limit=POKES_A_SWEEP):
        _poke(poke, operation)


def _poke(poke: Poke, operation: Operation) -> None:
    """Send the hint that starts ``operation``, after the commit."""
    service = operation.kind.partition(".")[0]
    poke(f"{service}.run_operation", operation_id=operation.id)
