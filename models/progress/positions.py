"""Where learners are within their lessons, so that they go on where they stopped."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, case, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base


class LessonPosition(Base):
    """``position_seconds`` is where the learner was last, ``furthest_seconds`` never goes back."""

    __tablename__ = "positions"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    position_seconds: Mapped[int]
    furthest_seconds: Mapped[int]
    moved_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "course_id"], ["progress.course_progress.user_id", "progress.course_progress.course_id"]
        ),
        {"schema": "progress"},
    )

    @classmethod
    def move(
        cls, session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID, position_seconds: int, at: datetime
    ) -> dict[str, Any]:
        """Take over a position; one from before the last one counts for the furthest only. Returns the view."""
        moved = insert(cls).values(
            user_id=user_id,
            course_id=course_id,
            lesson_id=lesson_id,
            position_seconds=position_seconds,
            furthest_seconds=position_seconds,
            moved_at=at,
        )
        told = moved.excluded
        is_late = told.moved_at < cls.moved_at
        kept = moved.on_conflict_do_update(
            index_elements=["user_id", "course_id", "lesson_id"],
            set_={
                "position_seconds": case((is_late, cls.position_seconds), else_=told.position_seconds),
                "furthest_seconds": func.greatest(cls.furthest_seconds, told.furthest_seconds),
                "moved_at": func.greatest(cls.moved_at, told.moved_at),
            },
        )
        return session.scalars(kept.returning(cls), execution_options={"populate_existing": True}).one().view()

    @classmethod
    def of(cls, session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID) -> dict[str, Any]:
        """Where a learner is in a lesson: at its beginning, where they have never been in it."""
        position = session.get(cls, (user_id, course_id, lesson_id))
        return position.view() if position else {**_BEGINNING, "lesson_id": lesson_id}

    @classmethod
    def all_of(cls, session: Session, user_id: UUID) -> list[dict[str, Any]]:
        theirs = session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.moved_at))
        return [{"course_id": each.course_id, **each.view()} for each in theirs]

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the positions of a learner; returns how many there were."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.lesson_id)).all())

    def view(self) -> dict[str, Any]:
        """As GET /v1/courses/{id}/lessons/{lid}/position shows it."""
        return {
            "lesson_id": self.lesson_id,
            "position_seconds": self.position_seconds,
            "furthest_seconds": self.furthest_seconds,
            "moved_at": self.moved_at,
        }


_BEGINNING = {"position_seconds": 0, "furthest_seconds": 0, "moved_at": None}
