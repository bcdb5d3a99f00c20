"""Courses as their learners see them: the enrollment with the version that it is for, in one statement."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Text, bindparam, cast, func, select, tuple_
from sqlalchemy.orm import Session, joinedload

from models.commands.courses import EnrollmentCursor
from models.errors import NotEnrolled

from .course import Course
from .enrollments import Enrollment
from .quizzes import QuizAttempt
from .versions import CourseVersion


def show_learner_course(
    session: Session, user_id: UUID, course_id: UUID, *, course_version: int | None, at: datetime
) -> dict[str, Any]:
    """Return a learner's course with the outline of their version, their access and their best quiz scores.

    Raises NotEnrolled without access, NotFound if the course was never published.
    """
    parameters = {"user": user_id, "course": course_id, "wanted_version": course_version}
    found = session.execute(_ONE, parameters).unique().one_or_none()
    if found is None:
        CourseVersion.require_published(session, course_id)
        raise NotEnrolled(str(course_id))
    enrollment, course, version, scores = found
    if not enrollment.has_access(at):
        raise NotEnrolled(str(course_id))
    return {
        "course_id": course.id,
        "slug": course.slug,
        **version.description_fields(),
        "description": version.description,
        "instructor_id": course.instructor_id,
        "on_sale": course.on_sale,
        "course_version": version.course_version,
        "latest_version": course.published_version,
        "sequential": version.sequential,
        "prerequisites": version.prerequisites,
        "lessons_total": version.lessons_total,
        "duration_seconds": version.duration_seconds,
        "sections": version.sections,
        "scores": msgspec.json.decode(scores) if scores else {},
        "access": {"enrolled_at": enrollment.enrolled_at, "ends_at": enrollment.expires_at(at)},
    }


def list_learner_courses(
    session: Session, user_id: UUID, *, after: EnrollmentCursor | None, limit: int, at: datetime
) -> tuple[list[dict[str, Any]], EnrollmentCursor | None]:
    """Return up to ``limit`` courses of a learner, latest enrollment first, and the next cursor if there are more."""
    wanted = _LIST.where(Enrollment.user_id == user_id)
    if after:
        wanted = wanted.where(tuple_(Enrollment.enrolled_at, Enrollment.id) < (after.enrolled_at, after.enrollment_id))
    newest_first = wanted.order_by(Enrollment.enrolled_at.desc(), Enrollment.id.desc())
    rows = session.execute(newest_first.limit(limit + 1)).unique().all()
    items = [_list_item(row, at) for row in rows[:limit]]
    if len(rows) <= limit:
        return items, None
    last: Enrollment = rows[limit - 1].Enrollment
    return items, EnrollmentCursor(last.enrolled_at, last.id)


def _list_item(row: Any, at: datetime) -> dict[str, Any]:
    enrollment: Enrollment = row.Enrollment
    return {
        "course_id": enrollment.course_id,
        "slug": row.slug,
        "title": row.title,
        "summary": row.summary,
        "cover_url": row.cover_url,
        "on_sale": row.status == "published",
        "course_version": row.course_version,
        "latest_version": row.published_version,
        "lessons_total": row.lessons_total,
        "duration_seconds": row.duration_seconds,
        "status": "active" if enrollment.has_access(at) else "ended",
        "access": {"enrolled_at": enrollment.enrolled_at, "ends_at": enrollment.expires_at(at)},
    }


# Built once: building a statement takes longer than executing it.
_BEST_SCORES = (
    select(QuizAttempt.lesson_id, func.max(QuizAttempt.score_percent).label("score_percent"))
    .where(
        QuizAttempt.user_id == bindparam("user"),
        QuizAttempt.course_id == bindparam("course"),
        QuizAttempt.status != "open",
    )
    .group_by(QuizAttempt.lesson_id)
    .subquery()
)
_ONE = (
    select(
        Enrollment,
        Course,
        CourseVersion,
        # As text: rows with a value that is not hashable cannot be made unique.
        select(
            cast(func.jsonb_object_agg(_BEST_SCORES.c.lesson_id, _BEST_SCORES.c.score_percent), Text)
        ).scalar_subquery(),
    )
    .join(Course, Course.id == Enrollment.course_id)
    .join(
        CourseVersion,
        (CourseVersion.course_id == Course.id)
        & (
            CourseVersion.course_version
            == func.coalesce(
                bindparam("wanted_version", type_=BigInteger), Enrollment.course_version, Course.published_version
            )
        ),
    )
    .where(Enrollment.user_id == bindparam("user"), Enrollment.course_id == bindparam("course"))
    .options(joinedload(Enrollment.grants))
    .execution_options(populate_existing=True)
)
_LIST = (
    select(
        Enrollment,
        Course.slug,
        Course.status,
        Course.published_version,
        CourseVersion.course_version,
        CourseVersion.title,
        CourseVersion.summary,
        CourseVersion.cover_url,
        CourseVersion.lessons_total,
        CourseVersion.duration_seconds,
    )
    .join(Course, Course.id == Enrollment.course_id)
    .join(
        CourseVersion,
        (CourseVersion.course_id == Course.id)
        & (CourseVersion.course_version == func.coalesce(Enrollment.course_version, Course.published_version)),
    )
    .options(joinedload(Enrollment.grants))
    .execution_options(populate_existing=True)
)
