"""Authors try their draft as a learner would see it. Nothing is recorded."""

from coursebus import errors, models
from flask import abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client
from web.errors import message_of

from .blueprint import authors_only, blueprint, course_page, working_copy


@blueprint.get("/<course_id>/try")
@authors_only
def try_course(course_id: str) -> ResponseReturnValue:
    """Open the first lesson of the draft."""
    shown = client().preview_course(course_id)
    first = shown.progress.next_lesson_id
    if first is None:
        return redirect(url_for("teach.outline", course_id=course_id), 303)
    return redirect(url_for("teach.try_lesson", course_id=course_id, lesson_id=first), 303)


@blueprint.route("/<course_id>/try/<lesson_id>", methods=["GET", "POST"])
@authors_only
def try_lesson(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Show a lesson of the draft; grade the answers to a quiz."""
    shown = client().preview_course(course_id)
    lessons = [each for section in shown.sections for each in section.lessons]
    place = next((number for number, each in enumerate(lessons) if each.id == lesson_id), None)
    if place is None:
        abort(404)
    lesson = client().preview_lesson(course_id, lesson_id)
    attempt, given = None, {}
    if lesson.kind == "quiz":
        body = models.PreviewAttemptFields()
        if request.method == "POST":
            fields = request.form.to_dict(flat=False)
            answers = {name.removeprefix("answer-"): values for name, values in fields.items() if "answer-" in name}
            given = {
                name: kept for name, values in answers.items() if (kept := [each for each in values if each.strip()])
            }
            body = models.PreviewAttemptFields(seed=request.form.get("seed", 0, int), answers=given)
        try:
            attempt = client().preview_quiz_attempt(course_id, lesson_id, body)
        except (errors.ValidationFailed, errors.BadRequest) as refusal:  # the quiz was changed since the draw
            flash(message_of(refusal), "problem")
            return redirect(url_for("teach.try_lesson", course_id=course_id, lesson_id=lesson_id), 303)
    return course_page(
        "try.html",
        working_copy(course_id),
        shown=shown,
        lesson=lesson,
        previous=lessons[place - 1] if place else None,
        following=lessons[place + 1] if place + 1 < len(lessons) else None,
        attempt=attempt,
        given=given,
    )
