"""Commands that their caller does not wait for: the row is the promise, committed before the 202 is sent."""

import random
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Index, or_, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from .base import Base, new_id, now
from .errors import (
    CommandCrashed,
    DomainError,
    NotFound,
    OperationBegun,
    OperationCanceled,
    OutcomeUnknown,
    RequestInProgress,
)
from .idempotency import Claim
from .log import bound_actor, bound_cause

MAX_ATTEMPTS = 5  # then the command is poison
LEASE = timedelta(minutes=2)  # above the longest command; a killed one is taken up after it
POKE_TRUSTED_FOR = timedelta(seconds=10)  # then it is taken for lost
_NO_MATTER_OF_TIME = timedelta(days=36500)

# Failures that a repeat may not meet again.
_HEALING = (RequestInProgress, OutcomeUnknown)


class Operation(Base):
    """One command on its way: pending, running (between two tries as well), succeeded or failed."""

    __tablename__ = "operations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]  # the task
    message: Mapped[dict[str, Any]]
    owner: Mapped[str]  # Auth0's name for the caller
    claim: Mapped[dict[str, Any]]  # models.idempotency.Claim
    headers: Mapped[dict[str, Any]]  # request_id, traceparent, actor
    status: Mapped[str]
    attempts: Mapped[int]
    leased_until: Mapped[datetime | None]
    run_after: Mapped[datetime]  # when the sweeper looks after it
    answer: Mapped[dict[str, Any] | None]  # as on the reply list: {"result"} or {"error"}
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_operations_open", "run_after", postgresql_where=text("finished_at IS NULL")),
        Index("ix_operations_finished_at", "finished_at"),
        {"schema": "bus"},
    )

    @classmethod
    def accept(cls, *, kind: str, message: dict[str, Any], owner: str, claim: Claim | None) -> Self:
        """A command to be carried out later. Without an Idempotency-Key of the client's it is its own."""
        operation_id = new_id()
        claim = claim or Claim(scope="operation", key=str(operation_id), fingerprint="")
        bound = bound_cause() | bound_actor()
        return cls(
            id=operation_id,
            kind=kind,
            message=message,
            owner=owner,
            claim=asdict(claim),
            headers={name: bound[name] for name in ("request_id", "traceparent", "actor") if name in bound},
            status="pending",
            attempts=0,
            run_after=now() + POKE_TRUSTED_FOR,
            created_at=now(),
        )

    @classmethod
    def under_way(cls, *, kind: str, owner: str, at: datetime) -> Self:
        """A command that has begun and ends when events have told it all: nobody carries it out, none is swept."""
        operation = cls.accept(kind=kind, message={}, owner=owner, claim=None)
        operation.status = "running"
        operation.run_after = at + _NO_MATTER_OF_TIME
        return operation

    @classmethod
    def of(cls, session: Session, operation_id: UUID, *, owner: str, lock: bool = False) -> Self:
        """An operation of ``owner``. Raises NotFound, for another's too."""
        operation = session.get(cls, operation_id, with_for_update=lock or None)
        if operation is None or operation.owner != owner:
            raise NotFound("operation", str(operation_id))
        return operation

    @classmethod
    def begin(cls, session: Session, operation_id: UUID, *, at: datetime) -> Self | None:
        """Count an attempt; None when there is nothing to do, or another is at it, or it was the last.

        Commit at once: an attempt that kills its process has then been counted.
        """
        operation = session.get(cls, operation_id, with_for_update={"skip_locked": True}, populate_existing=True)
        if operation is None or operation.finished_at or (operation.leased_until and operation.leased_until > at):
            return None
        if operation.attempts >= MAX_ATTEMPTS:
            operation.finish({"error": CommandCrashed().to_wire()}, at)
            return None
        operation.status = "running"
        operation.attempts += 1
        operation.leased_until = operation.run_after = at + LEASE
        return operation

    @classmethod
    def lost(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Operations that a poke should have begun, or a killed worker finished; each is told again a little later."""
        due = (
            select(cls)
            .where(
                cls.finished_at.is_(None), cls.run_after <= at, or_(cls.leased_until.is_(None), cls.leased_until < at)
            )
            .order_by(cls.run_after)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        operations = list(session.scalars(due))
        for operation in operations:
            operation.run_after = at + POKE_TRUSTED_FOR
        return operations

    @classmethod
    def end(cls, session: Session, operation_id: UUID, answer: dict[str, Any], *, at: datetime) -> None:
        """Keep what became of an attempt: the outcome, or when to try again. One that has an outcome keeps it."""
        operation = session.get_one(cls, operation_id, with_for_update=True, populate_existing=True)
        if operation.finished_at:
            return
        if not _may_heal(answer):
            operation.finish(answer, at)
        elif operation.attempts >= MAX_ATTEMPTS:
            operation.finish({"error": answer.get("error", CommandCrashed().to_wire())}, at)
        else:
            operation.put_off(at)

    def cancel(self, *, at: datetime) -> None:
        """Give up what has not begun; a repetition changes nothing. Raises OperationBegun."""
        if self.status == "pending":
            self.finish({"error": OperationCanceled().to_wire()}, at)
        elif (self.answer or {}).get("error", {}).get("name") != OperationCanceled.__name__:
            raise OperationBegun(self.status)

    def view(self) -> dict[str, Any]:
        """As GET /v1/operations/{id} shows it, but for the error, of which the gateway makes a problem."""
        answer = self.answer or {}
        return {
            "id": f"{self.kind.partition('.')[0]}-{self.id}",
            "kind": self.kind,
            "status": self.status,
            "result": answer.get("result"),
            "error": answer.get("error"),
            "created_at": self.created_at,
            "finished_at": self.finished_at,
        }

    def finish(self, answer: dict[str, Any], at: datetime) -> None:
        """Keep the outcome."""
        self.status = "failed" if "error" in answer else "succeeded"
        self.answer = answer
        self.message = {}  # it may hold personal data, and nobody needs it any more
        self.leased_until = None
        self.finished_at = at

    def put_off(self, at: datetime) -> None:
        """Try again after 2, 4, 8 … seconds, give or take a quarter, so that many do not come back at once."""
        self.leased_until = None
        self.run_after = at + timedelta(seconds=2**self.attempts * random.uniform(0.75, 1.25))


def _may_heal(answer: dict[str, Any]) -> bool:
    error = answer.get("error")
    if error is None:
        return "crash" in answer
    rebuilt = DomainError.from_wire(error)
    return rebuilt.transient or isinstance(rebuilt, _HEALING)
