"""Asynchronous commands: the operation is committed before the gateway answers 202, so that a crash cannot lose it."""

import random
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Index, or_, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, new_id, utc_now
from core.errors import (
    CommandCrashed,
    DomainError,
    NotFound,
    OperationAlreadyStarted,
    OperationCanceled,
    OutcomeUnknown,
    RequestInProgress,
)
from core.log import correlation_ids, current_actor

from .idempotency import IdempotencyClaim

MAX_ATTEMPTS = 5  # then the command fails for good
LEASE = timedelta(minutes=2)  # longer than any command; after it, the command of a killed worker is resumed
HINT_GRACE = timedelta(seconds=10)  # afterwards the sweeper assumes that the hint was lost
_NEVER = timedelta(days=36500)

# Errors that a retry may not meet, beside those that are ``transient``.
_TRANSIENT_ERRORS = (RequestInProgress, OutcomeUnknown)


class Operation(Base):
    """An asynchronous command. Its status is pending, running (between two attempts too), succeeded or failed."""

    __tablename__ = "operations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]  # the name of the task
    message: Mapped[dict[str, Any]]
    owner: Mapped[str]  # the caller's ``sub``
    claim: Mapped[dict[str, Any]]  # core.bus.idempotency.Claim
    headers: Mapped[dict[str, Any]]  # request_id, traceparent, actor
    status: Mapped[str]
    attempts: Mapped[int]
    leased_until: Mapped[datetime | None]
    run_after: Mapped[datetime]  # from then on the sweeper sends a hint to run it
    reply: Mapped[dict[str, Any] | None]  # the reply: {"result"} or {"error"}
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_operations_open", "run_after", postgresql_where=text("finished_at IS NULL")),
        Index("ix_operations_finished_at", "finished_at"),
        {"schema": "bus"},
    )

    @classmethod
    def accept(cls, *, kind: str, message: dict[str, Any], owner: str, claim: IdempotencyClaim | None) -> Self:
        """Create a pending operation. Without a ``claim``, the id of the operation is its idempotency key."""
        operation_id = new_id()
        claim = claim or IdempotencyClaim(scope="operation", key=str(operation_id), fingerprint="")
        bound = correlation_ids() | current_actor()
        return cls(
            id=operation_id,
            kind=kind,
            message=message,
            owner=owner,
            claim=asdict(claim),
            headers={name: bound[name] for name in ("request_id", "traceparent", "actor") if name in bound},
            status="pending",
            attempts=0,
            run_after=utc_now() + HINT_GRACE,
            created_at=utc_now(),
        )

    @classmethod
    def start_async(cls, *, kind: str, owner: str, at: datetime) -> Self:
        """Create an operation that incoming events will finish: no worker runs it, and the sweeper ignores it."""
        operation = cls.accept(kind=kind, message={}, owner=owner, claim=None)
        operation.status = "running"
        operation.run_after = at + _NEVER
        return operation

    @classmethod
    def get(cls, session: Session, operation_id: UUID, *, owner: str, for_update: bool = False) -> Self:
        """Return an operation of ``owner``. Raises NotFound, also for an operation of another user."""
        operation = session.get(cls, operation_id, with_for_update=for_update or None)
        if operation is None or operation.owner != owner:
            raise NotFound("operation", str(operation_id))
        return operation

    @classmethod
    def list_newest(
        cls,
        session: Session,
        service: str,
        *,
        owner: str | None,
        status: str | None,
        before: UUID | None,
        limit: int,
    ) -> list[Self]:
        """Return at most ``limit`` operations in ``service`` with an id below ``before``, the newest first."""
        wanted = select(cls).where(cls.kind.startswith(f"{service}.", autoescape=True))
        if owner is not None:
            wanted = wanted.where(cls.owner == owner)
        if status:
            wanted = wanted.where(cls.status == status)
        if before:
            wanted = wanted.where(cls.id < before)
        return list(session.scalars(wanted.order_by(cls.id.desc()).limit(limit)))

    @classmethod
    def start_attempt(cls, session: Session, operation_id: UUID, *, at: datetime) -> Self | None:
        """Start an attempt and lease the operation.

        Returns None if the operation has finished, if another worker is running it, or if it has used up its attempts
        and therefore fails now. Commit immediately, so that an attempt that kills its process is counted.
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
    def list_stalled(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Lock and return operations whose hint was lost or whose worker was killed, and delay their next hint."""
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
            operation.run_after = at + HINT_GRACE
        return operations

    @classmethod
    def record_attempt_result(
        cls, session: Session, operation_id: UUID, reply: dict[str, Any], *, at: datetime
    ) -> None:
        """Record the result of an attempt: finish the operation, or schedule a retry after a transient error.

        An operation that has finished before stays as it is.
        """
        operation = session.get_one(cls, operation_id, with_for_update=True, populate_existing=True)
        if operation.finished_at:
            return
        if not _is_transient(reply):
            operation.finish(reply, at)
        elif operation.attempts >= MAX_ATTEMPTS:
            operation.finish({"error": reply.get("error", CommandCrashed().to_wire())}, at)
        else:
            operation.schedule_retry(at)

    def cancel(self, *, at: datetime) -> None:
        """Cancel a pending operation; one that was canceled before stays so. Raises OperationAlreadyStarted."""
        if self.status == "pending":
            self.finish({"error": OperationCanceled().to_wire()}, at)
        elif (self.reply or {}).get("error", {}).get("name") != OperationCanceled.__name__:
            raise OperationAlreadyStarted(self.status)

    def to_response(self) -> dict[str, Any]:
        """Return the response of GET /v1/operations/{id}; the gateway turns ``error`` into a problem document."""
        reply = self.reply or {}
        return {
            "id": f"{self.kind.partition('.')[0]}-{self.id}",
            "kind": self.kind,
            "status": self.status,
            "result": reply.get("result"),
            "error": reply.get("error"),
            "created_at": self.created_at,
            "finished_at": self.finished_at,
        }

    def finish(self, reply: dict[str, Any], at: datetime) -> None:
        """Store the result and delete the message."""
        self.status = "failed" if "error" in reply else "succeeded"
        self.reply = reply
        self.message = {}  # it may hold personal data, and is not needed any more
        self.leased_until = None
        self.finished_at = at

    def schedule_retry(self, at: datetime) -> None:
        """Schedule the next attempt after 2, 4, 8 … seconds; ±25 % jitter spreads the load of many retries."""
        self.leased_until = None
        self.run_after = at + timedelta(seconds=2**self.attempts * random.uniform(0.75, 1.25))


def _is_transient(reply: dict[str, Any]) -> bool:
    error = reply.get("error")
    if error is None:
        return "crash" in reply
    rebuilt = DomainError.from_wire(error)
    return rebuilt.transient or isinstance(rebuilt, _TRANSIENT_ERRORS)
