"""Progress: learners' way through their courses."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.errors import ProjectionBehind
from models.events import CoursePublished, EnrollmentCreated, UserDeleted, UserExportRequested
from models.outbox import record
from models.personal import forget, is_erased, lay_out
from models.progress import CourseProgress, Outline

from . import projection, task


@task
def complete_lesson(session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID) -> dict[str, Any]:
    """Mark a lesson complete. Raises NotEnrolled, NotFound, LessonLocked."""
    progress = CourseProgress.locked(session, user_id, course_id)
    for event in progress.complete(lesson_id, at=now()):
        record(session, progress, event)
    return progress.view()


@task
def show_progress(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """A learner's progress in a course. Raises NoProgress."""
    return CourseProgress.of(session, user_id, course_id).view()


@task
def keep_outline(session: Session, *, event: CoursePublished) -> None:
    """Keep the outline of a published version, for those who start on it."""
    Outline.keep(session, event)


@task
def start_course(session: Session, *, event: EnrollmentCreated) -> None:
    """Begin a learner's progress when access begins. Raises ProjectionBehind while the outline is on its way."""
    if session.get(CourseProgress, (event.user_id, event.course_id)):
        return  # a second grant, or access that began anew: what was done before still counts
    if is_erased(session, "progress", event.user_id):
        return
    outline = Outline.latest(session, event.course_id)
    if outline is None:
        raise ProjectionBehind("outline of course", str(event.course_id))
    progress = CourseProgress.start(user_id=event.user_id, outline=outline, at=event.enrolled_at)
    session.add(progress)
    record(session, progress, progress.started())


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Lay out a learner's progress."""
    lay_out(session, "progress", event, {"courses": CourseProgress.all_of(session, event.user_id)})


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Erase a learner's progress."""
    forget(session, "progress", event, rows=CourseProgress.erase(session, event.user_id), kept=[])


projection("progress.outlines", forget=Outline.forget, folds=[keep_outline])
