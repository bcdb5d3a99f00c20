"""The events of a learner's progress, built from its row after the change."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from models.events import (
    CertificateIssued,
    CourseCompleted,
    CourseStarted,
    CourseVersionChanged,
    LessonCompleted,
    LessonReopened,
)

if TYPE_CHECKING:
    from .course_progress import CourseProgress


def course_started(progress: "CourseProgress") -> CourseStarted:
    """Return the event of a learner who has started the course."""
    return CourseStarted(
        user_id=progress.user_id,
        course_id=progress.course_id,
        course_version=progress.outline.course_version,
        lessons_total=progress.lessons_total,
        started_at=progress.started_at,
    )


def lesson_completed(progress: "CourseProgress", lesson: dict[str, Any], at: datetime) -> LessonCompleted:
    """Return the event of a lesson that the learner has completed."""
    return LessonCompleted(
        user_id=progress.user_id,
        course_id=progress.course_id,
        course_title=progress.outline.title,
        lesson_id=UUID(lesson["id"]),
        lesson_title=lesson["title"],
        lessons_completed=progress.lessons_completed,
        lessons_total=progress.lessons_total,
        completed_at=at,
    )


def course_version_changed(progress: "CourseProgress", at: datetime) -> CourseVersionChanged:
    """Return the event of a learner who takes another version."""
    return CourseVersionChanged(
        user_id=progress.user_id,
        course_id=progress.course_id,
        course_version=progress.outline.course_version,
        lessons_completed=progress.lessons_completed,
        lessons_total=progress.lessons_total,
        changed_at=at,
    )


def course_completed(progress: "CourseProgress", at: datetime) -> CourseCompleted:
    """Return the event of the first completion of the course."""
    return CourseCompleted(
        user_id=progress.user_id,
        course_id=progress.course_id,
        course_title=progress.outline.title,
        lessons_total=progress.lessons_total,
        completed_at=at,
        started_at=progress.started_at,
    )


def lesson_reopened(progress: "CourseProgress", lesson_id: UUID, at: datetime) -> LessonReopened:
    """Return the event of a lesson that the learner has reopened."""
    return LessonReopened(
        user_id=progress.user_id,
        course_id=progress.course_id,
        lesson_id=lesson_id,
        lessons_completed=progress.lessons_completed,
        lessons_total=progress.lessons_total,
        reopened_at=at,
    )


def certificate_issued(progress: "CourseProgress", code: str, at: datetime) -> CertificateIssued:
    """Return the event of a certificate that was issued."""
    return CertificateIssued(
        user_id=progress.user_id,
        course_id=progress.course_id,
        course_title=progress.outline.title,
        code=code,
        issued_at=at,
    )
