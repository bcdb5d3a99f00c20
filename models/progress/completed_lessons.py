"""Completed lessons of learners: rows that are inserted, deleted and counted, never loaded as a collection."""

from collections import defaultdict
from datetime import datetime
from typing import Self
from uuid import UUID

from sqlalchemy import ColumnElement, DateTime, ForeignKeyConstraint, Uuid, and_, bindparam, delete, select, text
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
        """Insert a lesson; return False if it was completed before, or reopened at ``at`` or later.

        The earliest time of several completions is stored, because those of offline devices arrive in any order.
        """
        row = _key(user_id, course_id, lesson_id) | {"completed_at": at}
        return bool(session.connection().scalar(_INSERT_ONCE, row))

    @classmethod
    def remove(cls, session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID) -> bool:
        """Delete a lesson; return False if it was not completed."""
        return session.connection().execute(_REMOVE, _key(user_id, course_id, lesson_id)).first() is not None

    @classmethod
    def exists(cls, session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID) -> bool:
        """Return whether the lesson is completed."""
        return session.connection().execute(_FIND, _key(user_id, course_id, lesson_id)).first() is not None

    @classmethod
    def list_times(cls, session: Session, user_id: UUID, course_id: UUID) -> dict[UUID, datetime]:
        """Return when a learner completed each lesson of a course."""
        theirs = select(cls.lesson_id, cls.completed_at).where(cls.user_id == user_id, cls.course_id == course_id)
        return {row.lesson_id: row.completed_at for row in session.execute(theirs)}

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
_INSERT_ONCE = text("""
    INSERT INTO progress.completed_lessons AS stored (user_id, course_id, lesson_id, completed_at)
    SELECT :user_id, :course_id, :lesson_id, :completed_at
    WHERE NOT EXISTS (
        SELECT FROM progress.reopened_lessons AS reopened
        WHERE reopened.user_id = :user_id AND reopened.course_id = :course_id AND reopened.lesson_id = :lesson_id
            AND reopened.reopened_at >= :completed_at
    )
    ON CONFLICT (user_id, course_id, lesson_id) DO UPDATE SET completed_at = excluded.completed_at
    WHERE excluded.completed_at < stored.completed_at
    RETURNING xmax = 0  -- false if the row was there
""").bindparams(
    bindparam("user_id", type_=Uuid),
    bindparam("course_id", type_=Uuid),
    bindparam("lesson_id", type_=Uuid),
    bindparam("completed_at", type_=DateTime(timezone=True)),
)
_REMOVE = delete(CompletedLesson).where(_is_lesson()).returning(CompletedLesson.lesson_id)
_FIND = select(CompletedLesson.lesson_id).where(_is_lesson())
_LIST_IDS = select(CompletedLesson.lesson_id).where(
    CompletedLesson.user_id == bindparam("user"), CompletedLesson.course_id == bindparam("course")
)
