"""The courses of a learner, and the player."""

from dataclasses import dataclass

from coursebus import errors, models
from flask import Blueprint, abort, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from .api import client, is_signed_in
from .language import _
from .quizzes import load_quiz
from .security import sign_in_required

blueprint = Blueprint("learning", __name__)

_LIST_SIZE = 50
AnyLesson = models.LearnerLesson | models.OutlineLesson


@dataclass(frozen=True)
class Place:
    """A lesson of an outline with its neighbours."""

    lesson: AnyLesson
    previous: AnyLesson | None
    following: AnyLesson | None


@blueprint.get("/learn")
@sign_in_required
def courses() -> str:
    """Show the courses that the learner owns, with progress, and their certificates."""
    return render_template(
        "learn.html",
        found=client().list_own_courses(limit=_LIST_SIZE).page(request.args.get("cursor")),
        certificates={each.course_id: each for each in client().list_own_certificates(limit=_LIST_SIZE).page().items},
        streak=client().get_streak(),
    )


@blueprint.get("/learn/<course_id>")
@sign_in_required
def course(course_id: str) -> ResponseReturnValue:
    """Open the lesson where the learner left off; the first one of a course that is complete."""
    owned = _owned(course_id)
    if owned is None:
        return redirect(url_for("catalogue.course", ref=course_id), 303)
    lessons = _lessons(owned)
    if not lessons:
        return redirect(url_for("catalogue.course", ref=owned.slug), 303)
    known = {each.id for each in lessons}
    wanted = (owned.progress.next_lesson_id, owned.progress.last_lesson_id)
    target = next((each for each in wanted if each in known), lessons[0].id)
    return redirect(url_for("learning.lesson", course_id=course_id, lesson_id=target), 303)


@blueprint.get("/learn/<course_id>/<lesson_id>")
def lesson(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Show a lesson: video, text or quiz. A free preview needs no access."""
    owned = _owned(course_id)
    shown = owned or client().get_course(course_id)
    place = _place(shown, lesson_id)
    content, refusal = None, None
    try:
        content = client().get_lesson(course_id, lesson_id)
    except errors.Unauthorized:
        return redirect(url_for("sign_in", next=request.path), 303)
    except (errors.Forbidden, errors.NotFound, errors.Conflict) as error:
        if owned is None:
            flash(_("This lesson is part of the course. Buy it to continue."))
            return redirect(url_for("catalogue.course", ref=shown.slug), 303)
        refusal = error
    page = render_template(
        "lesson.html",
        course=shown,
        course_id=course_id,
        progress=owned.progress if owned else None,
        place=place,
        lesson=content,
        quiz=load_quiz(course_id, lesson_id) if owned and content and content.kind == "quiz" else None,
        refusal=refusal,
    )
    return page, 409 if refusal else 200


def _owned(course_id: str) -> models.LearnerCourse | None:
    """Return the course as the learner has it; None for visitors and without access."""
    if not is_signed_in():
        return None
    try:
        return client().get_own_course(course_id)
    except (errors.NotFound, errors.Forbidden):
        return None


def _lessons(shown: models.LearnerCourse | models.Course) -> list[AnyLesson]:
    return [each for section in shown.sections for each in section.lessons]


def _place(shown: models.LearnerCourse | models.Course, lesson_id: str) -> Place:
    lessons = _lessons(shown)
    index = next((number for number, each in enumerate(lessons) if each.id == lesson_id), None)
    if index is None:
        abort(404)
    following = lessons[index + 1] if index + 1 < len(lessons) else None
    return Place(lessons[index], lessons[index - 1] if index else None, following)


@blueprint.post("/learn/<course_id>/<lesson_id>/completion")
@sign_in_required
def complete(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Complete a lesson and go on to the next one, or undo its completion."""
    if request.form.get("action") == "reopen":
        client().reopen_lesson(course_id, lesson_id)
        return redirect(url_for("learning.lesson", course_id=course_id, lesson_id=lesson_id), 303)
    client().complete_lesson(course_id, lesson_id)
    return _after(course_id, lesson_id)


def _after(course_id: str, lesson_id: str) -> Response:
    """Lead from a completed lesson to the next one, or to the end of the course."""
    owned = client().get_own_course(course_id)
    if owned.progress.status == "completed":
        return redirect(url_for("learning.finished", course_id=course_id), 303)
    following = _place(owned, lesson_id).following
    target = following.id if following else owned.progress.next_lesson_id or lesson_id
    return redirect(url_for("learning.lesson", course_id=course_id, lesson_id=target), 303)


@blueprint.post("/learn/<course_id>/<lesson_id>/position")
@sign_in_required
def position(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Store the position of the video, which the player's script reports."""
    seconds = max(request.form.get("seconds", 0, int), 0)
    stored = client().update_position(course_id, lesson_id, models.PositionFields(position_seconds=seconds))
    return jsonify(position_seconds=stored.position_seconds)


def _own_review(course_id: str) -> models.Review | None:
    try:
        return client().get_own_review(course_id)
    except errors.NotFound:
        return None


@blueprint.get("/learn/<course_id>/finished")
@sign_in_required
def finished(course_id: str) -> ResponseReturnValue:
    """Congratulate, with the certificate and a form for a review."""
    owned = client().get_own_course(course_id)
    if owned.progress.completed_at is None:
        return redirect(url_for("learning.course", course_id=course_id), 303)
    page = render_template("finished.html", course=owned, certificate=owned.certificate, review=_own_review(course_id))
    # The certificate is issued a moment after the last lesson.
    return page, 200, {} if owned.certificate else {"Refresh": "2"}
