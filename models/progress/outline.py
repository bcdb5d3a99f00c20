"""Outlines of published course versions: a projection of COURSE_PUBLISHED."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from models.errors import NotFound
from models.events import CoursePublished, PublishedLesson


class Outline(Base):
    """The outline of a published version of a course. Immutable."""

    __tablename__ = "outlines"
    __table_args__ = ({"schema": "progress"},)

    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_version: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    sequential: Mapped[bool]
    prerequisites: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))  # courses to complete first
    # [{"id", "title", "rule", "duration_seconds", "opens_after_days", "opens_at"}] in order. Lessons from old
    # events have only the first two fields.
    lessons: Mapped[list[dict[str, Any]]]
    moves_learners: Mapped[bool] = mapped_column(default=False)  # learners of older versions take this one

    @classmethod
    def insert_once(cls, session: Session, event: CoursePublished) -> None:
        """Insert a published version, unless it is stored already; then only ``moves_learners`` may become true."""
        lessons = [lesson for section in event.sections for lesson in section.lessons]
        row = insert(cls).values(
            course_id=event.course_id,
            course_version=event.course_version,
            title=event.title,
            sequential=event.sequential,
            prerequisites=event.prerequisites,
            lessons=[_lesson_fields(lesson) for lesson in lessons],
            moves_learners=event.learners == "move",
        )
        session.execute(
            row.on_conflict_do_update(
                index_elements=["course_id", "course_version"],
                set_={"moves_learners": True},
                where=row.excluded.moves_learners,
            )
        )

    @classmethod
    def clear(cls, session: Session, course_id: str) -> None:
        """Delete all versions of a course, for a rebuild of the projection."""
        session.execute(delete(cls).where(cls.course_id == UUID(course_id)))

    @classmethod
    def find_latest(cls, session: Session, course_id: UUID) -> Self | None:
        """Return the newest version that has arrived; None if there is none."""
        newest = select(cls).where(cls.course_id == course_id).order_by(cls.course_version.desc()).limit(1)
        return session.scalars(newest).one_or_none()

    @classmethod
    def find(cls, session: Session, course_id: UUID, course_version: int | None) -> Self | None:
        """Return a version of a course; None if it has not arrived.

        Without ``course_version`` returns the newest one. A newer version to which learners move replaces an older one.
        """
        if course_version is None:
            return cls.find_latest(session, course_id)
        is_newer = (cls.course_version > course_version) & cls.moves_learners
        wanted = select(cls).where(cls.course_id == course_id, (cls.course_version == course_version) | is_newer)
        return session.scalars(wanted.order_by(cls.course_version.desc()).limit(1)).one_or_none()

    def lesson(self, lesson_id: UUID) -> dict[str, Any]:
        """Return a lesson of this version. Raises NotFound."""
        return self.lessons[self.position(lesson_id)]

    def position(self, lesson_id: UUID) -> int:
        """Return the number of lessons before this one. Raises NotFound."""
        wanted = str(lesson_id)
        for position, lesson in enumerate(self.lessons):
            if lesson["id"] == wanted:
                return position
        raise NotFound("lesson", wanted)

    def lesson_id_at(self, position: int) -> UUID | None:
        """Return the lesson at ``position``; None after the last one."""
        return UUID(self.lessons[position]["id"]) if position < len(self.lessons) else None

    def has_lesson(self, lesson_id: UUID) -> bool:
        wanted = str(lesson_id)
        return any(lesson["id"] == wanted for lesson in self.lessons)

    def next_after(self, done: Collection[UUID]) -> UUID | None:
        """Return the first lesson that is not completed; None if all are."""
        lesson_ids = (UUID(lesson["id"]) for lesson in self.lessons)
        return next((lesson_id for lesson_id in lesson_ids if lesson_id not in done), None)


class RememberedOutlines:
    """The outlines that this process has read last. They are immutable, and may be as long as a thousand lessons."""

    def __init__(self, lessons: int) -> None:
        self._lessons = lessons  # in all outlines together
        self._by_course: dict[UUID, dict[int, Outline]] = {}

    def of_course(self, course_id: UUID) -> Mapping[int, Outline]:
        """Return the versions of a course that are remembered."""
        return self._by_course.get(course_id, {})

    def add(self, outline: Outline) -> Outline:
        """Remember an outline that belongs to no session, and return it; forget the oldest if there are too many."""
        # A new dictionary, because other threads may read the old one.
        self._by_course[outline.course_id] = {**self.of_course(outline.course_id), outline.course_version: outline}
        while sum(len(each.lessons) for versions in [*self._by_course.values()] for each in versions.values()) > max(
            self._lessons, len(outline.lessons)
        ):
            with suppress(KeyError, StopIteration):  # another thread has removed it
                del self._by_course[next(iter(self._by_course))]
        return outline


REMEMBERED = RememberedOutlines(lessons=10_000)  # some 8 MiB


def _lesson_fields(lesson: PublishedLesson) -> dict[str, Any]:
    return {
        "id": str(lesson.lesson_id),
        "title": lesson.title,
        "rule": lesson.completion_rule,
        "duration_seconds": lesson.duration_seconds,
        "opens_after_days": lesson.opens_after_days,
        "opens_at": lesson.opens_at.isoformat() if lesson.opens_at else None,
    }
