"""Operations: asynchronous commands, in every service.

``accept_operation`` commits the operation before the gateway responds 202. ``run_operation`` executes its command like
a message from the queue; the response is stored in the command's transaction. The hint that starts an operation may be
lost; ``sweep_operations`` finds such operations.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from core.bus.idempotency import claim_from
from core.bus.operations import Operation
from core.db import utc_now
from core.messaging.task_queue import Envelope
from models.commands import RunOperation
from models.errors import TaskUnknown
from workers.runtime.dependencies import EnqueueAfterCommit, dependency
from workers.runtime.execution import TaskExecution, Transactions, failure
from workers.runtime.jobs import per_service_job
from workers.runtime.tasks import TASKS, execute_message, per_service_task

SWEEP_BATCH = 100

RunCommand = Callable[[Operation], dict[str, Any]]


@dataclass
class OperationExecution(TaskExecution):
    """The execution of an operation's command."""

    def store_response(self, session: Session) -> None:
        """Also store the response in the operation, in the transaction of the command."""
        super().store_response(session)
        Operation.record_attempt_result(session, UUID(self.task_id), self.response, at=utc_now())


@dependency
def run_command(_execution: TaskExecution) -> Iterator[RunCommand]:
    """``run_command(operation)`` executes its command and returns the response: a result, an error or a crash."""

    def run(operation: Operation) -> dict[str, Any]:
        definition = TASKS.get(operation.kind)
        if definition is None:
            return failure(TaskUnknown(operation.kind))
        # Another release may have stored the headers: unknown fields are ignored.
        envelope = msgspec.convert({**operation.headers, "idempotency_claim": operation.claim}, Envelope)
        execution = OperationExecution(task=operation.kind, task_id=str(operation.id), envelope=envelope)
        execute_message(definition, execution, operation.message)
        return execution.response

    yield run


@per_service_task
def accept_operation(
    session: Session,
    enqueue_after_commit: EnqueueAfterCommit,
    *,
    kind: str,
    message: dict[str, Any],
    owner: str,
    claim: dict[str, Any] | None,
) -> dict[str, Any]:
    """Store the command ``kind`` with its ``message`` for execution and return the operation. Raises TaskUnknown."""
    if kind not in TASKS:
        raise TaskUnknown(kind)
    operation = Operation.accept(kind=kind, message=message, owner=owner, claim=claim_from(claim))
    session.add(operation)
    _enqueue(enqueue_after_commit, operation)
    return operation.to_response()


@per_service_task
def run_operation(transactions: Transactions, run_command: RunCommand, *, operation_id: UUID) -> None:
    """Execute an operation, unless it is finished or in progress."""
    with transactions.begin() as session:
        operation = Operation.start_attempt(session, operation_id, at=utc_now())
    if operation is None:
        return
    response = run_command(operation)
    # Errors, and commands that do not use the ``session`` dependency, may not have stored the response themselves.
    with transactions.begin() as session:
        Operation.record_attempt_result(session, operation_id, response, at=utc_now())


@per_service_task
def show_operation(session: Session, *, operation_id: UUID, owner: str) -> dict[str, Any]:
    """Return an operation of ``owner``. Raises NotFound."""
    return Operation.get(session, operation_id, owner=owner).to_response()


@per_service_task
def list_operations(
    session: Session, *, service: str, owner: str | None, status: str | None, limit: int, before: UUID | None
) -> list[dict[str, Any]]:
    """Return operations of ``owner`` (None: of everyone) in a service, the newest first."""
    found = Operation.list_newest(session, service, owner=owner, status=status, before=before, limit=limit)
    return [operation.to_response() for operation in found]


@per_service_task
def cancel_operation(session: Session, *, operation_id: UUID, owner: str) -> dict[str, Any]:
    """Cancel an operation that has not started. Raises NotFound, OperationAlreadyStarted."""
    operation = Operation.get(session, operation_id, owner=owner, for_update=True)
    operation.cancel(at=utc_now())
    return operation.to_response()


@per_service_job
def sweep_operations(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Send the hint again for operations that are due for a retry, or whose hint or worker was lost."""
    for operation in Operation.list_stalled(session, at=utc_now(), limit=SWEEP_BATCH):
        _enqueue(enqueue_after_commit, operation)


def _enqueue(enqueue_after_commit: EnqueueAfterCommit, operation: Operation) -> None:
    """Send the hint that starts ``operation``, after the commit."""
    service = operation.kind.partition(".")[0]
    enqueue_after_commit(RunOperation(service=service, operation_id=operation.id))
