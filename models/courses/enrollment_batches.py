"""Batches that enroll or unenroll people by their addresses, and what became of each row."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ForeignKey, Index, delete, func, insert, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText
from models.commands.enrollment_batches import BatchRow
from models.errors import EnrollmentBatchesOpen, NotFound

PENDING, EMAIL_INVALID, DUPLICATE = "pending", "email_invalid", "duplicate"
OPEN_MAX = 3  # batches of a course that wait or run
EMAIL_MAX_LENGTH = 254
_EMAIL = re.compile(r"[^@\s,;<>\"]+@[^@\s,;<>\"]+\.[^@\s.,;<>\"]+")


class EnrollmentBatch(Base):
    """A request to enroll or unenroll the people of a list. Its id is the id of its operation."""

    __tablename__ = "enrollment_batches"
    __table_args__ = (
        Index("ix_enrollment_batches_course_id", "course_id", "id"),
        Index("ix_enrollment_batches_unfinished", "created_at", postgresql_where=text("finished_at IS NULL")),
        {"schema": "courses"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID]
    author_id: Mapped[UUID]
    owner: Mapped[PrivateText]  # of the operation
    action: Mapped[str]  # enroll, unenroll
    ends_at: Mapped[datetime | None]  # of the access
    rows_total: Mapped[int]
    counts: Mapped[dict[str, Any]]  # rows by result, without those that are pending
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    @classmethod
    def create(
        cls,
        session: Session,
        rows: Iterable[BatchRow],
        *,
        id: UUID,  # noqa: A002 the column's name
        course_id: UUID,
        author_id: UUID,
        owner: str,
        action: str,
        ends_at: datetime | None,
        at: datetime,
    ) -> Self:
        """Store a batch with its rows. Invalid and repeated addresses have their result at once.

        Lock the course first. Raises EnrollmentBatchesOpen if too many batches of the course are not finished.
        """
        unfinished = select(func.count()).where(cls.course_id == course_id, cls.finished_at.is_(None))
        if (session.scalar(unfinished) or 0) >= OPEN_MAX:
            raise EnrollmentBatchesOpen(str(OPEN_MAX))
        values = _new_rows(id, rows)
        batch = cls(
            id=id,
            course_id=course_id,
            author_id=author_id,
            owner=owner,
            action=action,
            ends_at=ends_at,
            rows_total=len(values),
            counts=dict(Counter(row["result"] for row in values if row["result"] != PENDING)),
            created_at=at,
        )
        session.add(batch)
        session.flush()
        session.connection().execute(insert(EnrollmentBatchRow), values)
        return batch

    @classmethod
    def get(cls, session: Session, course_id: UUID, batch_id: UUID) -> Self:
        """Return a batch of a course. Raises NotFound."""
        found = session.get(cls, batch_id)
        if found is None or found.course_id != course_id:
            raise NotFound("enrollment batch", str(batch_id))
        return found

    @classmethod
    def list_page(cls, session: Session, course_id: UUID, *, after: UUID | None, limit: int) -> list[Self]:
        """Return up to ``limit`` batches of a course with an id below ``after``, the newest first."""
        wanted = select(cls).where(cls.course_id == course_id)
        if after:
            wanted = wanted.where(cls.id < after)
        return list(session.scalars(wanted.order_by(cls.id.desc()).limit(limit)))

    @classmethod
    def find_oldest_for_update(cls, session: Session) -> Self | None:
        """Return the oldest batch that is not finished, locked; None if there is none or another worker has it."""
        unfinished = select(cls).where(cls.finished_at.is_(None)).order_by(cls.created_at).limit(1)
        return session.scalars(unfinished.with_for_update(skip_locked=True)).one_or_none()

    @classmethod
    def prune(cls, session: Session, *, before: datetime) -> None:
        """Delete batches that were finished before a time, with their rows."""
        session.execute(delete(cls).where(cls.finished_at < before))

    def next_rows(self, session: Session, *, limit: int) -> list["EnrollmentBatchRow"]:
        """Return the next rows without a result. Store their results by ``store_results`` in this transaction."""
        pending = select(EnrollmentBatchRow).where(
            EnrollmentBatchRow.batch_id == self.id, EnrollmentBatchRow.result == PENDING
        )
        return list(session.scalars(pending.order_by(EnrollmentBatchRow.line).limit(limit)))

    def store_results(self, results: Iterable[str]) -> None:
        """Count the results of a page of rows."""
        self.counts = dict(Counter(self.counts) + Counter(results))

    def to_response(self) -> dict[str, Any]:
        """Return the response of GET /v1/courses/{id}/enrollment-batches/{id}, also the operation's result."""
        return {
            "id": self.id,
            "course_id": self.course_id,
            "author_id": self.author_id,
            "action": self.action,
            "ends_at": self.ends_at,
            "rows_total": self.rows_total,
            "rows_done": sum(self.counts.values()),
            "counts": self.counts,
            "created_at": self.created_at,
            "finished_at": self.finished_at,
        }


class EnrollmentBatchRow(Base):
    """An address of a batch, and what became of it."""

    __tablename__ = "enrollment_batch_rows"
    __table_args__ = (
        Index("ix_enrollment_batch_rows_email", "email"),
        Index("ix_enrollment_batch_rows_result", "batch_id", "result", "line"),
        {"schema": "courses"},
    )

    batch_id: Mapped[UUID] = mapped_column(
        ForeignKey("courses.enrollment_batches.id", ondelete="CASCADE"), primary_key=True
    )
    line: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[PrivateText | None]  # None after an erasure
    result: Mapped[str]

    @classmethod
    def list_page(
        cls, session: Session, batch_id: UUID, *, result: str | None, after: int | None, limit: int
    ) -> list[Self]:
        """Return up to ``limit`` rows of a batch after a line, in the order of their lines."""
        wanted = select(cls).where(cls.batch_id == batch_id)
        if result:
            wanted = wanted.where(cls.result == result)
        if after is not None:
            wanted = wanted.where(cls.line > after)
        return list(session.scalars(wanted.order_by(cls.line).limit(limit)))

    @classmethod
    def erase(cls, session: Session, email: str) -> int:
        """Remove an address; return the number of rows."""
        theirs = update(cls).where(cls.email == email).values(email=None).returning(cls.line)
        return len(session.scalars(theirs).all())

    def to_response(self) -> dict[str, Any]:
        return {"line": self.line, "email": self.email, "result": self.result}


def _new_rows(batch_id: UUID, rows: Iterable[BatchRow]) -> list[dict[str, Any]]:
    known, values = set[str](), list[dict[str, Any]]()
    for row in rows:
        email = row.email.strip().lower()
        if len(email) > EMAIL_MAX_LENGTH or not _EMAIL.fullmatch(email):
            result = EMAIL_INVALID
        else:
            result = DUPLICATE if email in known else PENDING
            known.add(email)
        values.append({"batch_id": batch_id, "line": row.line, "email": email[:EMAIL_MAX_LENGTH], "result": result})
    return values
