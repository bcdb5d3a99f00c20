"""When lessons were reopened: what a learner did before does not complete the lesson again."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base


class ReopenedLesson(Base):
    """The latest time at which a learner reopened a lesson."""

    __tablename__ = "reopened_lessons"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    reopened_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "course_id"], ["progress.course_progress.user_id", "progress.course_progress.course_id"]
        ),
        {"schema": "progress"},
    )

    @classmethod
    def upsert(cls, session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID, *, at: datetime) -> None:
        """Store the time; the row of the learner's progress must be locked."""
        row = insert(cls).values(user_id=user_id, course_id=course_id, lesson_id=lesson_id, reopened_at=at)
        key = ["user_id", "course_id", "lesson_id"]
        session.execute(row.on_conflict_do_update(index_elements=key, set_={"reopened_at": at}))

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the rows of a learner; return their number."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.lesson_id)).all())
