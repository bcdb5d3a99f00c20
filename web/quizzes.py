"""Quizzes in the player: start an attempt, answer its questions, and see the result."""

from dataclasses import dataclass

from coursebus import errors, models
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from .api import client
from .language import _
from .security import sign_in_required

blueprint = Blueprint("quizzes", __name__, url_prefix="/learn/<course_id>/<lesson_id>")

_LIST_SIZE = 20
_OVER = {"attempt_expired", "attempt_closed"}  # the attempt has been graded, so its page has the result


@dataclass(frozen=True)
class QuizPage:
    """What the page of a quiz shows beside its questions."""

    rules: models.QuizState
    attempts: list[models.OwnQuizAttempt]
    open: models.QuizAttemptDetails | None


def load_quiz(course_id: str, lesson_id: str) -> QuizPage:
    """Return the rules of a quiz, the learner's attempts, and the open one with its questions."""
    rules = client().get_own_quiz(course_id, lesson_id)
    attempts = client().list_own_quiz_attempts(course_id, lesson_id, limit=_LIST_SIZE).page().items
    opened = client().get_own_quiz_attempt(course_id, lesson_id, rules.open_attempt) if rules.open_attempt else None
    return QuizPage(rules, [each for each in attempts if each.status != "open"], opened)


@blueprint.post("/attempt")
@sign_in_required
def attempt(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Grade the answers to a quiz without limits, which needs no start."""
    answers = _answers(client().get_lesson(course_id, lesson_id).content.questions or [])
    result = client().submit_quiz_attempt(course_id, lesson_id, models.Answers(answers=answers))
    return _to_result(course_id, lesson_id, result.attempt)


@blueprint.post("/attempts/start")
@sign_in_required
def start(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Start an attempt, or go on with the open one."""
    client().start_quiz_attempt(course_id, lesson_id)
    return _to_lesson(course_id, lesson_id)


@blueprint.post("/attempts/<int:number>")
@sign_in_required
def answer(course_id: str, lesson_id: str, number: int) -> ResponseReturnValue:
    """Save the answers of an open attempt, or submit them."""
    opened = client().get_own_quiz_attempt(course_id, lesson_id, number)
    body = models.Answers(answers=_answers(opened.questions))
    try:
        if request.form.get("action") == "save":
            client().save_quiz_answers(course_id, lesson_id, number, body)
            flash(_("Your answers were saved."))
            return _to_lesson(course_id, lesson_id)
        client().submit_quiz_answers(course_id, lesson_id, number, body)
    except errors.Conflict as error:
        if error.code not in _OVER:
            raise
        if error.code == "attempt_expired":
            flash(_("The time was over. The answers that you had saved were graded."), "problem")
    return _to_result(course_id, lesson_id, number)


@blueprint.get("/attempts/<int:number>")
@sign_in_required
def result(course_id: str, lesson_id: str, number: int) -> ResponseReturnValue:
    """Show the result of an attempt, with correct answers and explanations once the author shows them."""
    graded = client().get_own_quiz_attempt(course_id, lesson_id, number)
    if graded.status == "open":
        return _to_lesson(course_id, lesson_id)
    return render_template(
        "quiz_result.html",
        course=client().get_own_course(course_id),
        course_id=course_id,
        lesson_id=lesson_id,
        attempt=graded,
    )


def _answers(questions: list[models.AttemptQuestion] | list[models.QuizQuestion]) -> dict[str, list[str]]:
    """Return the answers of the form; a text or number that was left empty is no answer."""
    found = {each.id: request.form.getlist(f"answer-{each.id}") for each in questions}
    return {name: given for name, values in found.items() if (given := [each for each in values if each.strip()])}


def _to_lesson(course_id: str, lesson_id: str) -> Response:
    return redirect(url_for("learning.lesson", course_id=course_id, lesson_id=lesson_id), 303)


def _to_result(course_id: str, lesson_id: str, number: int) -> Response:
    return redirect(url_for("quizzes.result", course_id=course_id, lesson_id=lesson_id, number=number), 303)
