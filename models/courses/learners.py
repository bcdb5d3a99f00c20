"""The learners of a course: pages with filters, counts, and those whose access ends."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, selectinload

from models.commands.courses import EnrollmentCursor, LearnerFilters

from .enrollments import ALL_PERCENT, Enrollment, active_at


def list_learners(
    session: Session, course_id: UUID, filters: LearnerFilters, *, at: datetime, limit: int
) -> tuple[list[Enrollment], EnrollmentCursor | None]:
    """Return up to ``limit`` enrollments in a course, newest first, and the next cursor if there are more."""
    wanted = select(Enrollment).where(Enrollment.course_id == course_id).options(selectinload(Enrollment.grants))
    if filters.status:
        is_active = active_at(at)
        wanted = wanted.where(is_active if filters.status == "active" else ~is_active)
    if filters.progress_min is not None:
        wanted = wanted.where(Enrollment.progress_percent >= filters.progress_min)
    if filters.progress_max is not None:
        wanted = wanted.where(Enrollment.progress_percent <= filters.progress_max)
    if filters.after:
        position = (filters.after.enrolled_at, filters.after.enrollment_id)
        wanted = wanted.where(tuple_(Enrollment.enrolled_at, Enrollment.id) < position)
    newest_first = wanted.order_by(Enrollment.enrolled_at.desc(), Enrollment.id.desc())
    rows = list(session.scalars(newest_first.limit(limit + 1)))
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], EnrollmentCursor(last.enrolled_at, last.id)


def count_by_progress(session: Session, course_id: UUID) -> dict[str, int]:
    """Return the number of learners of a course who have not started, who are in progress, and who are done."""
    is_done, is_new = Enrollment.progress_percent == ALL_PERCENT, Enrollment.lessons_completed == 0
    counted = session.execute(
        select(
            func.count().filter(is_new),
            func.count().filter(~is_new, ~is_done),
            func.count().filter(is_done),
        ).where(Enrollment.course_id == course_id)
    ).one()
    return dict(zip(("not_started", "in_progress", "completed"), counted, strict=True))


def list_expired_for_update(session: Session, *, at: datetime, limit: int) -> list[Enrollment]:
    """Return up to ``limit`` enrollments whose access has ended and whose end is not published, locked."""
    return _list_due_for_update(session, Enrollment.access_ends_at, Enrollment.access_ends_at <= at, limit=limit)


def list_due_notices_for_update(session: Session, *, at: datetime, limit: int) -> list[Enrollment]:
    """Return up to ``limit`` enrollments whose learners have to be notified of the end of their access, locked."""
    is_due = (Enrollment.end_notice_at <= at) & (Enrollment.access_ends_at > at)
    return _list_due_for_update(session, Enrollment.end_notice_at, is_due, limit=limit)


def _list_due_for_update(
    session: Session, due_at: InstrumentedAttribute[datetime | None], is_due: ColumnElement[bool], *, limit: int
) -> list[Enrollment]:
    # Rows locked by commands are skipped: the next run finds them, and the commands record the end themselves.
    due = select(Enrollment).where(is_due).order_by(due_at).limit(limit)
    locked = due.with_for_update(key_share=True, skip_locked=True).options(selectinload(Enrollment.grants))
    return list(session.scalars(locked.execution_options(populate_existing=True)))
