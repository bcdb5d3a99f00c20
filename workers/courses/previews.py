"""Authors try their course as a learner: no enrollment, no event, and nothing that is stored."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.commands.courses import Caller
from models.courses.course import Course
from models.courses.outline import Lesson
from models.courses.previews import preview_attempt
from models.courses.previews import preview_course as show_as_learner
from models.courses.quiz_content import Quiz, without_answers
from models.errors import NotFound
from workers import task

from .files import with_links


@task
def preview_course(session: Session, *, course_id: UUID, caller: Caller) -> dict[str, Any]:
    """Return the working copy of a course like the page of a learner who begins now. Raises NotFound."""
    return show_as_learner(_get_own(session, course_id, caller, outline=True), at=utc_now())


@task
def preview_lesson(session: Session, *, course_id: UUID, lesson_id: UUID, caller: Caller) -> dict[str, Any]:
    """Return the working copy of a lesson as learners see it, with links to its files: {"version", "view"}.

    Raises NotFound.
    """
    course = _get_own(session, course_id, caller)
    lesson = Lesson.get(session, course_id, lesson_id)
    return {"version": course.version, "view": with_links(session, without_answers(lesson.to_dict()))}


@task
def preview_quiz(
    session: Session,
    *,
    course_id: UUID,
    lesson_id: UUID,
    caller: Caller,
    seed: int,
    answers: dict[str, list[str]] | None,
) -> dict[str, Any]:
    """Return the questions of an attempt that is not kept; with ``answers``, graded and with the correct ones.

    Raises NotFound, LessonIsNotAQuiz, InvalidAnswers.
    """
    _get_own(session, course_id, caller)
    quiz = Quiz(Lesson.get(session, course_id, lesson_id).to_dict())
    return preview_attempt(quiz, seed=seed, answers=answers)


def _get_own(session: Session, course_id: UUID, caller: Caller, *, outline: bool = False) -> Course:
    """Return a course that the caller may change, without a lock. Raises NotFound."""
    course = Course.get(session, str(course_id), outline=outline)
    if not course.may_be_changed_by(caller):
        raise NotFound("course", str(course_id))
    return course
