"""Offline events of sequential courses that happened, by their own times, before their lesson was open."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base


class Action(NamedTuple):
    """What a learner did in a lesson: "completed" it, or moved the "position" after watching a part."""

    at: datetime
    lesson_id: UUID
    kind: str
    position_seconds: int = 0
    from_seconds: int = 0


class WaitingEvent(Base):
    """An event that waits until events of earlier lessons arrive that open its lesson before its time."""

    __tablename__ = "waiting_events"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    position_seconds: Mapped[int] = mapped_column(primary_key=True)
    from_seconds: Mapped[int] = mapped_column(primary_key=True)

    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "course_id"], ["progress.course_progress.user_id", "progress.course_progress.course_id"]
        ),
        {"schema": "progress"},
    )

    @classmethod
    def list_for_course(cls, session: Session, user_id: UUID, course_id: UUID) -> set[Action]:
        """Return the waiting events of a learner in a course."""
        columns = (cls.at, cls.lesson_id, cls.kind, cls.position_seconds, cls.from_seconds)
        theirs = select(*columns).where(cls.user_id == user_id, cls.course_id == course_id)
        return {Action(*row) for row in session.execute(theirs)}

    @classmethod
    def replace(
        cls, session: Session, user_id: UUID, course_id: UUID, *, before: set[Action], after: set[Action]
    ) -> None:
        """Store the events ``after`` in place of ``before``."""
        key = {"user_id": user_id, "course_id": course_id}
        if added := after - before:
            session.execute(insert(cls).values([{**key, **each._asdict()} for each in added]))
        if removed := before - after:
            columns = tuple_(cls.at, cls.lesson_id, cls.kind, cls.position_seconds, cls.from_seconds)
            theirs = (cls.user_id == user_id, cls.course_id == course_id, columns.in_(list(removed)))
            session.execute(delete(cls).where(*theirs))

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the rows of a learner; return their number."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.lesson_id)).all())


def by_lesson(actions: Collection[Action]) -> dict[UUID, list[Action]]:
    """Return the actions by lesson, those of each lesson in the order of their times."""
    found: dict[UUID, list[Action]] = {}
    for action in sorted(actions):
        found.setdefault(action.lesson_id, []).append(action)
    return found
