"""When lessons open: by the schedule of the course, and what a learner's own schedule has beside it."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from sqlalchemy import ForeignKeyConstraint, delete
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from models.errors import PreconditionFailed

from .outline import Outline


class Schedule(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one learner's schedule has beside that of the course. Stored as JSON in the row of the progress."""

    version: int = 1
    shift_days: int = 0  # later; negative: earlier
    lessons: dict[str, datetime] = {}  # when these lessons open, shifted or not
    reason: str | None = None
    changed_at: datetime | None = None

    @property
    def is_empty(self) -> bool:
        return not self.shift_days and not self.lessons

    def require_version(self, expected: int) -> None:
        """Raise PreconditionFailed unless this is the expected version."""
        if expected != self.version:
            raise PreconditionFailed("schedule", str(self.version))

    def opens_at(self, lesson: dict[str, Any], *, started_at: datetime) -> datetime:
        """Return when a lesson opens for a learner who started the course at ``started_at``."""
        if moment := self.lessons.get(lesson["id"]):
            return moment
        return opens_by_course(lesson, started_at=started_at) + timedelta(
            days=self.shift_days if _has_time(lesson) else 0
        )

    def next_opening(
        self, lessons: Iterable[dict[str, Any]], *, started_at: datetime, after: datetime
    ) -> datetime | None:
        """Return when the next of the lessons opens after ``after``; None if none does."""
        timed = (lesson for lesson in lessons if lesson["id"] in self.lessons or _has_time(lesson))
        openings = (self.opens_at(lesson, started_at=started_at) for lesson in timed)
        return min((each for each in openings if each > after), default=None)

    def to_stored(self) -> dict[str, Any]:
        """Return the JSON that is stored."""
        stored: dict[str, Any] = msgspec.to_builtins(self)
        return stored

    def to_response(self, lessons: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Return the response of GET …/learners/{id}/schedule, with those of ``lessons`` that have a time of their own.

        The times of lessons that are not in the learner's version are left out.
        """
        own = [
            {"lesson_id": lesson["id"], "opens_at": self.lessons[lesson["id"]]}
            for lesson in lessons
            if lesson["id"] in self.lessons
        ]
        return {"version": self.version, "lessons": own, **self.note()}

    def note(self) -> dict[str, Any]:
        """Return what the learner sees of it beside the times of the lessons."""
        return {"shift_days": self.shift_days, "reason": self.reason, "changed_at": self.changed_at}


OF_THE_COURSE = Schedule()


def opens_by_course(lesson: dict[str, Any], *, started_at: datetime) -> datetime:
    """Return when a lesson opens by the schedule of the course alone."""
    if moment := lesson.get("opens_at"):
        return datetime.fromisoformat(moment)
    return started_at + timedelta(days=lesson.get("opens_after_days") or 0)


def _has_time(lesson: dict[str, Any]) -> bool:
    return bool(lesson.get("opens_at") or lesson.get("opens_after_days"))


class HasSchedule:
    """Mixin of the progress of a learner: when lessons open for this learner."""

    schedule: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))  # None: that of the course
    next_unlock_at: Mapped[datetime | None]  # when LESSON_UNLOCKED is to be published next

    if TYPE_CHECKING:
        started_at: Mapped[datetime]
        outline: Mapped[Outline]

    @property
    def own_schedule(self) -> Schedule:
        return msgspec.convert(self.schedule, Schedule) if self.schedule else OF_THE_COURSE

    def plan_unlocks(self, *, after: datetime) -> None:
        """Set when the next lesson opens after ``after``; what was to be published before stays so."""
        if not self.next_unlock_at or self.next_unlock_at > after:
            self.next_unlock_at = self.own_schedule.next_opening(
                self.outline.lessons, started_at=self.started_at, after=after
            )


class UnlockedLesson(Base):
    """A lesson of which LESSON_UNLOCKED was published for a learner."""

    __tablename__ = "unlocked_lessons"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    unlocked_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "course_id"], ["progress.course_progress.user_id", "progress.course_progress.course_id"]
        ),
        {"schema": "progress"},
    )

    @classmethod
    def insert_new(
        cls, session: Session, user_id: UUID, course_id: UUID, lesson_ids: Sequence[str], *, at: datetime
    ) -> set[str]:
        """Insert lessons of a learner whose progress is locked; return those that were not there."""
        if not lesson_ids:
            return set()
        theirs = {"user_id": user_id, "course_id": course_id, "unlocked_at": at}
        rows = insert(cls).values([theirs | {"lesson_id": UUID(each)} for each in lesson_ids])
        return {str(each) for each in session.scalars(rows.on_conflict_do_nothing().returning(cls.lesson_id))}

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the rows of a learner; return their number."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.lesson_id)).all())
