"""The outlines of published versions, as the courses service told them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base
from models.errors import NotFound
from models.events import CoursePublished, PublishedLesson


class Outline(Base):
    """A published version of a course. Never changed once it is here."""

    __tablename__ = "outlines"
    __table_args__ = ({"schema": "progress"},)

    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_version: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    sequential: Mapped[bool]
    prerequisites: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))  # courses to complete first
    # [{"id", "title", "rule", "duration_seconds", "opens_after_days", "opens_at"}] in the order of learning; those told
    # before there were rules have only the first two.
    lessons: Mapped[list[dict[str, Any]]]

    @classmethod
    def keep(cls, session: Session, event: CoursePublished) -> None:
        """Take over a published version; one that is here already stays as it is."""
        lessons = [lesson for section in event.sections for lesson in section.lessons]
        told = insert(cls).values(
            course_id=event.course_id,
            course_version=event.course_version,
            title=event.title,
            sequential=event.sequential,
            prerequisites=event.prerequisites,
            lessons=[_kept(lesson) for lesson in lessons],
        )
        session.execute(told.on_conflict_do_nothing())

    @classmethod
    def forget(cls, session: Session, course_id: str) -> None:
        """Take all versions of a course away, for a rebuild."""
        session.execute(delete(cls).where(cls.course_id == UUID(course_id)))

    @classmethod
    def latest(cls, session: Session, course_id: UUID) -> Self | None:
        """The newest version that has arrived here."""
        newest = select(cls).where(cls.course_id == course_id).order_by(cls.course_version.desc()).limit(1)
        return session.scalars(newest).one_or_none()

    def lesson(self, lesson_id: UUID) -> dict[str, Any]:
        """Raises NotFound for a lesson that is not of this version."""
        for lesson in self.lessons:
            if lesson["id"] == str(lesson_id):
                return lesson
        raise NotFound("lesson", str(lesson_id))

    def has(self, lesson_id: UUID) -> bool:
        return any(lesson["id"] == str(lesson_id) for lesson in self.lessons)

    def next_after(self, done: Iterable[UUID]) -> UUID | None:
        """The first lesson that is still to be completed."""
        open_ones = (UUID(lesson["id"]) for lesson in self.lessons)
        return next((lesson_id for lesson_id in open_ones if lesson_id not in done), None)


def opens_at(lesson: dict[str, Any], *, started_at: datetime) -> datetime:
    """When a lesson opens for a learner who began the course at ``started_at``."""
    if moment := lesson.get("opens_at"):
        return datetime.fromisoformat(moment)
    return started_at + timedelta(days=lesson.get("opens_after_days") or 0)


def _kept(lesson: PublishedLesson) -> dict[str, Any]:
    return {
        "id": str(lesson.lesson_id),
        "title": lesson.title,
        "rule": lesson.completion_rule,
        "duration_seconds": lesson.duration_seconds,
        "opens_after_days": lesson.opens_after_days,
        "opens_at": lesson.opens_at.isoformat() if lesson.opens_at else None,
    }
