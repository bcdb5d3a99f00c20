"""Attempts at a quiz beyond its limit, which an instructor or staff gives to one learner."""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base

_MAX = 1000  # of one learner at one quiz


class ExtraAttempts(Base):
    """The number of attempts that a learner may start beyond the limit of a quiz."""

    __tablename__ = "quiz_extra_attempts"
    __table_args__ = ({"schema": "courses"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID]
    attempts: Mapped[int]

    @classmethod
    def count(cls, session: Session, user_id: UUID, lesson_id: UUID) -> int:
        """Return how many extra attempts a learner was given."""
        theirs = select(cls.attempts).where(cls.user_id == user_id, cls.lesson_id == lesson_id)
        return session.scalar(theirs) or 0

    @classmethod
    def add(cls, session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID, attempts: int) -> int:
        """Give a learner more attempts; return how many they were given in all."""
        row = insert(cls).values(user_id=user_id, lesson_id=lesson_id, course_id=course_id, attempts=attempts)
        total = func.least(cls.attempts + row.excluded.attempts, _MAX)
        added = row.on_conflict_do_update(index_elements=["user_id", "lesson_id"], set_={"attempts": total})
        return session.scalars(added.returning(cls.attempts)).one()

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[dict[str, Any]]:
        theirs = session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.lesson_id))
        return [
            {"course_id": each.course_id, "lesson_id": each.lesson_id, "attempts": each.attempts} for each in theirs
        ]

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.lesson_id)).all())
