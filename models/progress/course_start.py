"""The start of a course by plain statements: one that reads what it depends on, and the insert of the progress."""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import execute_later

from .course_progress import CourseProgress
from .outline import REMEMBERED, Outline

# By the driver, because SQLAlchemy need not compile them.
_READ = """
    SELECT
        EXISTS (SELECT FROM progress.course_progress WHERE user_id = %(user)s AND course_id = %(course)s),
        EXISTS (
            SELECT FROM bus.data_subjects
            WHERE service = 'progress' AND user_id = %(user)s AND erased_at IS NOT NULL),
        coalesce((SELECT version FROM bus.applied_versions WHERE projection = %(ended)s AND key = %(key)s), 0),
        (SELECT max(course_version) FROM progress.outlines
            WHERE course_id = %(course)s
            AND (%(version)s IS NULL OR course_version = %(version)s
                OR (course_version > %(version)s AND moves_learners)))
"""
_INSERTED = (
    *("user_id", "course_id", "course_version", "version", "lessons_total", "lessons_completed", "next_lesson_id"),
    *("started_at", "closed_at", "enrollment_version", "next_unlock_at", "access_ends_at"),
)
_INSERT = f"""
    INSERT INTO progress.course_progress ({", ".join(_INSERTED)}) VALUES ({", ".join(["%s"] * len(_INSERTED))})
"""  # noqa: S608 constants only


@dataclass(frozen=True)
class CourseStart:
    """What the start of a course by a learner depends on."""

    is_started: bool
    is_erased: bool  # the learner
    ended_version: int  # of the last end of the enrollment that arrived before the start; 0 if none did
    outline: Outline | None  # None if it has not arrived; it belongs to no session

    @classmethod
    def read(cls, session: Session, user_id: UUID, course_id: UUID, course_version: int | None, *, ended: str) -> Self:
        """Read the state without a lock. ``ended`` is the name of AppliedVersion for ended enrollments.

        The outline is the one that ``Outline.find`` returns.
        """
        parameters = {
            "user": str(user_id),
            "course": str(course_id),
            "version": course_version,
            "ended": ended,
            "key": f"{user_id}:{course_id}",
        }
        row = session.connection().exec_driver_sql(_READ, parameters).one()
        is_started, is_erased, ended_version, found_version = row
        is_needed = found_version is not None and not is_started and not is_erased
        outline = _outline(session, course_id, found_version) if is_needed else None
        return cls(is_started, is_erased, ended_version, outline)


def insert_started(session: Session, progress: CourseProgress) -> None:
    """Insert the row of ``CourseProgress.start``. The next statement raises IntegrityError if there is one already."""
    values = [getattr(progress, name) for name in _INSERTED]
    execute_later(session, _INSERT, tuple(str(each) if isinstance(each, UUID) else each for each in values))


def _outline(session: Session, course_id: UUID, course_version: int) -> Outline:
    known = REMEMBERED.of_course(course_id).get(course_version)
    if known:
        return known
    columns = Outline.__table__.columns
    wanted = select(*columns).where(columns.course_id == course_id, columns.course_version == course_version)
    return REMEMBERED.add(Outline(**session.connection().execute(wanted).mappings().one()))
