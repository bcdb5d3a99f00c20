"""Completed lessons of learners: rows that are inserted, deleted and counted, never loaded as a collection."""

from collections import defaultdict
from datetime import datetime
from typing import Self
from uuid import UUID

from sqlalchemy import ColumnElement, ForeignKeyConstraint, and_, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base


class CompletedLesson(Base):
    """A lesson that a learner has completed. Call its methods while the row of the learner's progress is locked."""

    __tablename__ = "completed_lessons"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    completed_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "course_id"], ["progress.course_progress.user_id", "progress.course_progress.course_id"]
        ),
        {"schema": "progress"},
    )

    @classmethod
    def insert_once(cls, session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID, *, at: datetime) -> bool:
        """Insert a lesson; return False if it was completed before."""
        row = _key(user_id, course_id, lesson_id) | {"completed_at": at}
        return session.connection().execute(_INSERT_ONCE, row).first() is not None

    @classmethod
    def remove(cls, session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID) -> bool:
        """Delete a lesson; return False if it was not completed."""
        return session.connection().execute(_REMOVE, _key(user_id, course_id, lesson_id)).first() is not None

    @classmethod
    def exists(cls, session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID) -> bool:
        """Return whether the lesson is completed."""
        return session.connection().execute(_FIND, _key(user_id, course_id, lesson_id)).first() is not None

    @classmethod
    def list_ids(cls, session: Session, user_id: UUID, course_id: UUID) -> set[UUID]:
        """Return the ids of all completed lessons of a learner in a course."""
        return set(session.connection().scalars(_LIST_IDS, {"user": user_id, "course": course_id}))

    @classmethod
    def list_ids_by_user(cls, session: Session, user_ids: list[UUID], course_id: UUID) -> dict[UUID, set[UUID]]:
        """Return the ids of all completed lessons of several learners in a course, by learner."""
        wanted = select(cls.user_id, cls.lesson_id).where(cls.user_id.in_(user_ids), cls.course_id == course_id)
        completed = defaultdict[UUID, set[UUID]](set)
        for user_id, lesson_id in session.execute(wanted):
            completed[user_id].add(lesson_id)
        return completed

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[Self]:
        """Return the completed lessons of a learner in all courses, oldest first."""
        return list(session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.completed_at)))

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the completed lessons of a learner; return their number."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.lesson_id)).all())


def _key(user_id: UUID, course_id: UUID, lesson_id: UUID) -> dict[str, object]:
    return {"user_id": user_id, "course_id": course_id, "lesson_id": lesson_id}


def _is_lesson() -> ColumnElement[bool]:
    return and_(
        CompletedLesson.user_id == bindparam("user_id"),
        CompletedLesson.course_id == bindparam("course_id"),
        CompletedLesson.lesson_id == bindparam("lesson_id"),
    )


# Built once: building a statement takes longer than executing it.
_INSERT_ONCE = insert(CompletedLesson).on_conflict_do_nothing().returning(CompletedLesson.lesson_id)
_REMOVE = delete(CompletedLesson).where(_is_lesson()).returning(CompletedLesson.lesson_id)
_FIND = select(CompletedLesson.lesson_id).where(_is_lesson())
_LIST_IDS = select(CompletedLesson.lesson_id).where(
    CompletedLesson.user_id == bindparam("user"), CompletedLesson.course_id == bindparam("course")
)
