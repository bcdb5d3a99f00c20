"""The courses of a learner, and the player."""

from collections.abc import Iterator
from dataclasses import dataclass

from coursebus import errors, models
from flask import Blueprint, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from .api import client
from .language import _
from .security import sign_in_required

blueprint = Blueprint("learning", __name__)


@dataclass(frozen=True)
class Place:
    """A lesson of an outline with its neighbours."""

    lesson: models.OutlineLesson
    previous: models.OutlineLesson | None
    following: models.OutlineLesson | None


@blueprint.get("/learn")
@sign_in_required
def courses() -> str:
    """Show the courses that the learner owns, with progress, and their certificates."""
    enrolled = client().list_own_enrollments(limit=50).page().items
    shown = [(each, _course_or_none(each.course_id)) for each in enrolled]
    return render_template(
        "learn.html",
        enrolled=[(enrollment, course) for enrollment, course in shown if course],
        certificates={each.course_id: each for each in client().list_own_certificates(limit=50).page().items},
        streak=client().get_streak(),
    )


def _course_or_none(course_id: str) -> models.Course | None:
    try:
        return client().get_course(course_id)
    except errors.NotFound:
        return None


@blueprint.get("/learn/<course_id>")
@sign_in_required
def course(course_id: str) -> ResponseReturnValue:
    """Open the lesson where the learner left off; the first one of a course that is complete."""
    shown = client().get_course(course_id)
    lessons = [*_lessons(shown)]
    if not lessons:
        return redirect(url_for("catalogue.course", ref=shown.slug), 303)
    progress = _progress(course_id)
    known = {each.id for each in lessons}
    wanted = (progress.next_lesson_id, progress.last_lesson_id) if progress else ()
    target = next((each for each in wanted if each in known), lessons[0].id)
    return redirect(url_for("learning.lesson", course_id=course_id, lesson_id=target), 303)


@blueprint.get("/learn/<course_id>/<lesson_id>")
def lesson(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Show a lesson: video, text or quiz. A free preview needs no access."""
    shown = client().get_course(course_id)
    place = _place(shown, lesson_id)
    progress = _progress(course_id)
    try:
        content = client().get_lesson(course_id, lesson_id)
    except (errors.Forbidden, errors.Conflict) as refusal:
        return _refused(shown, place, progress, refusal)
    position = client().get_position(course_id, lesson_id) if progress and content.kind == "video" else None
    return render_template(
        "lesson.html", course=shown, lesson=content, place=place, progress=progress, position=position, refusal=None
    )


def _refused(
    shown: models.Course, place: Place, progress: models.CourseProgress | None, refusal: errors.ApiError
) -> ResponseReturnValue:
    """Show the reason why a lesson is locked; lead visitors without access to the course's page."""
    if refusal.code == "not_enrolled":
        flash(_("This lesson is part of the course. Buy it to continue."))
        return redirect(url_for("catalogue.course", ref=shown.slug), 303)
    page = render_template(
        "lesson.html", course=shown, lesson=None, place=place, progress=progress, position=None, refusal=refusal
    )
    return page, 409


def _progress(course_id: str) -> models.CourseProgress | None:
    """Return the learner's progress; None without access, or before the course was opened."""
    try:
        return client().get_course_progress(course_id)
    except (errors.NotFound, errors.Forbidden, errors.Unauthorized):
        return None


def _lessons(course: models.Course) -> Iterator[models.OutlineLesson]:
    for section in course.sections:
        yield from section.lessons


def _place(course: models.Course, lesson_id: str) -> Place:
    lessons = [*_lessons(course)]
    index = next((number for number, each in enumerate(lessons) if each.id == lesson_id), 0)
    following = lessons[index + 1] if index + 1 < len(lessons) else None
    return Place(lessons[index], lessons[index - 1] if index else None, following)


@blueprint.post("/learn/<course_id>/<lesson_id>/completion")
@sign_in_required
def complete(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Complete a lesson and go on to the next one, or undo its completion."""
    if request.form.get("action") == "reopen":
        client().reopen_lesson(course_id, lesson_id)
        return redirect(url_for("learning.lesson", course_id=course_id, lesson_id=lesson_id), 303)
    progress = client().complete_lesson(course_id, lesson_id)
    return _after(course_id, lesson_id, progress)


def _after(course_id: str, lesson_id: str, progress: models.CourseProgress) -> Response:
    if progress.status == "completed":
        return redirect(url_for("learning.finished", course_id=course_id), 303)
    following = _place(client().get_course(course_id), lesson_id).following
    target = following.id if following else progress.next_lesson_id or lesson_id
    return redirect(url_for("learning.lesson", course_id=course_id, lesson_id=target), 303)


@blueprint.post("/learn/<course_id>/<lesson_id>/attempt")
@sign_in_required
def attempt(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Grade the answers to a quiz."""
    questions = client().get_lesson(course_id, lesson_id).content.questions or []
    answers = {each.id: request.form.getlist(f"answer-{each.id}") for each in questions}
    result = client().submit_quiz_attempt(course_id, lesson_id, models.Answers(answers=answers))
    text = _("Passed with %(score)s %%.") if result.passed else _("%(score)s %%: not passed yet. Try again.")
    flash(text % {"score": result.score_percent}, "notice" if result.passed else "problem")
    if not result.passed:
        return redirect(url_for("learning.lesson", course_id=course_id, lesson_id=lesson_id), 303)
    return _after(course_id, lesson_id, client().get_course_progress(course_id))


@blueprint.post("/learn/<course_id>/<lesson_id>/position")
@sign_in_required
def position(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Store the position of the video, which the player's script reports."""
    seconds = max(request.form.get("seconds", 0, int), 0)
    stored = client().update_position(course_id, lesson_id, models.PositionFields(position_seconds=seconds))
    return jsonify(position_seconds=stored.position_seconds)


@blueprint.get("/learn/<course_id>/finished")
@sign_in_required
def finished(course_id: str) -> ResponseReturnValue:
    """Congratulate, with the certificate and a form for a review."""
    shown = client().get_course(course_id)
    progress = _progress(course_id)
    if progress is None or progress.completed_at is None:
        return redirect(url_for("learning.course", course_id=course_id), 303)
    issued = client().list_own_certificates(limit=50).page().items
    certificate = next((each for each in issued if each.course_id == course_id), None)
    page = render_template("finished.html", course=shown, certificate=certificate)
    # The certificate is issued a moment after the last lesson.
    return page, 200, {} if certificate else {"Refresh": "2"}
