"""The questions of a quiz: each is a page with the fields of its kind."""

from itertools import chain, count, islice
from string import ascii_lowercase
from typing import Any

import msgspec
from coursebus import errors, models
from flask import abort, redirect, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client
from web.language import _

from .blueprint import authors_only, blueprint, course_page, saved, working_copy
from .forms import Current, Form, save
from .lessons import QUESTION_KINDS, Place, content_of, read_place, write_content
from .quiz_rules import fit_pools

_OPTIONS_MIN, _OPTIONS_MAX = 4, 20
_EMPTY_ROWS = 2  # below the options of a choice
_COMMON = ("text", "points", "explanation")
_BY_KIND = {
    "choice": ("multiple", "partial_credit"),
    "true_false": ("truth",),
    "short_text": ("accepted",),
    "numeric": ("number", "tolerance"),
}
_ANSWER_FIELD = {"true_false": "truth", "short_text": "accepted", "numeric": "number"}


@blueprint.route("/<course_id>/quizzes/new", methods=["GET", "POST"])
@authors_only
def new_quiz(course_id: str) -> ResponseReturnValue:
    """Create a quiz with its first question."""
    course = working_copy(course_id)
    title, section_id = request.args.get("title", "").strip(), request.args.get("section", "")
    kind = _kind(request.args.get("kind", ""))
    form = _posted() if request.method == "POST" else Form.of({"points": "1"})
    if request.method == "POST" and request.form.get("action") != "more":
        content = msgspec.convert({"questions": [_question(form, kind, "q1")]}, models.Content)
        completion = models.Completion(rule="min_score", min_score_percent=100)
        fields = models.LessonFields(
            title=title, section_id=section_id, kind="quiz", content=content, completion=completion
        )
        try:
            quiz = client().create_lesson(course_id, fields)
            return saved(url_for("teach.lesson", course_id=course_id, lesson_id=quiz.id), _("The quiz was added."))
        except errors.ValidationFailed as refusal:
            form.refuse(refusal, _places(0, kind))
    return _page(course, form, kind, title=title), 422 if form.problems else 200


@blueprint.route("/<course_id>/lessons/<lesson_id>/questions/new", methods=["GET", "POST"])
@authors_only
def new_question(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Append a question to a quiz."""
    place = _read_quiz(course_id, lesson_id)
    kind = _kind(request.args.get("kind", ""))
    form = _posted() if request.method == "POST" else Form.of({"points": "1"})
    if request.method == "POST" and request.form.get("action") != "more":

        def write(current: Current) -> None:
            content = content_of(current.source.lesson)
            content["questions"].append(_question(form, kind, _next_id(content["questions"])))
            write_content(current.source, content)

        def read() -> Current:
            now = _read_quiz(course_id, lesson_id)
            return Current(now.course.version, {}, now)

        if save(form, read, write, _places(len(place.lesson.content.questions or []), kind)):
            return saved(_address(place), _("The question was added."))
    return _page(place.course, form, kind, lesson=place.lesson), 422 if form.problems else 200


@blueprint.route("/<course_id>/lessons/<lesson_id>/questions/<question_id>", methods=["GET", "POST"])
@authors_only
def question(course_id: str, lesson_id: str, question_id: str) -> ResponseReturnValue:
    """Change a question, move it, or remove it from the quiz."""
    place = _read_quiz(course_id, lesson_id)
    number, stored = _find(place, question_id)
    kind = stored.get("kind", "choice")
    action = request.form.get("action", "save")
    if request.method == "GET":
        return _page(place.course, Form.of(_values(stored)), kind, lesson=place.lesson, number=number + 1)
    if action in {"up", "down", "delete"}:
        _rearrange(place, number, action)
        return redirect(_address(place), 303)
    form = _posted()
    if action == "more":
        return _page(place.course, form, kind, lesson=place.lesson, number=number + 1)

    def read() -> Current:
        now = _read_quiz(course_id, lesson_id)
        return Current(now.course.version, _values(_find(now, question_id)[1]), now)

    def write(current: Current) -> None:
        content = content_of(current.source.lesson)
        at, before = _find(current.source, question_id)
        pool = {"pool": before["pool"]} if "pool" in before else {}
        content["questions"][at] = {**_question(form, kind, question_id), **pool}
        write_content(current.source, content)

    if save(form, read, write, _places(number, kind)):
        return saved(_address(place))
    return _page(place.course, form, kind, lesson=place.lesson, number=number + 1), 422


def _read_quiz(course_id: str, lesson_id: str) -> Place:
    place = read_place(course_id, lesson_id)
    if place.lesson.kind != "quiz":
        abort(404)
    return place


def _find(place: Place, question_id: str) -> tuple[int, dict[str, Any]]:
    questions = content_of(place.lesson)["questions"]
    number = next((number for number, each in enumerate(questions) if each["id"] == question_id), None)
    if number is None:
        abort(404)
    return number, questions[number]


def _kind(name: str) -> str:
    return name if name in QUESTION_KINDS else "choice"


def _address(place: Place) -> str:
    return url_for("teach.lesson", course_id=place.course.id, lesson_id=place.lesson.id, _anchor="questions")


def _rearrange(place: Place, number: int, action: str) -> None:
    """Move a question by one place, or delete it; the last question of a quiz stays."""
    content = content_of(place.lesson)
    questions = content["questions"]
    if action == "delete":
        del questions[number]
        content = fit_pools(content)
    else:
        other = min(max(number + (-1 if action == "up" else 1), 0), len(questions) - 1)
        questions[number], questions[other] = questions[other], questions[number]
    write_content(place, content)


def _next_id(questions: list[dict[str, Any]]) -> str:
    used = {each["id"] for each in questions}
    return next(name for number in count(1) if (name := f"q{number}") not in used)


def _option_ids() -> list[str]:
    """Return the ids of the options of the form: a to z, and those that were stored under other ids."""
    return [name.removeprefix("option-") for name in request.form if name.startswith("option-")][:_OPTIONS_MAX]


def _posted() -> Form:
    options = chain.from_iterable((f"option-{each}", f"correct-{each}") for each in _option_ids())
    return Form.posted((*_COMMON, *chain.from_iterable(_BY_KIND.values()), *options))


def _page(course: models.Course, form: Form, kind: str, **values: Any) -> str:
    names = [name.removeprefix("option-") for name in form.values if name.startswith("option-")]
    filled = [name for name in names if form[f"option-{name}"]]
    wanted = min(max(len(filled) + _EMPTY_ROWS, _OPTIONS_MIN), _OPTIONS_MAX)
    free = (name for name in ascii_lowercase if name not in filled)
    rows = [*filled, *islice(free, max(wanted - len(filled), 0))]
    return course_page("question.html", course, form=form, kind=kind, kinds=QUESTION_KINDS, rows=rows, **values)


def _values(question: dict[str, Any]) -> dict[str, str]:
    """Return the values of the fields of a stored question."""
    kind, correct = question.get("kind", "choice"), question["correct"]
    values = {
        "text": question["text"],
        "points": str(question.get("points", 1)),
        "explanation": question.get("explanation") or "",
        "multiple": "on" if question.get("multiple") else "",
        "partial_credit": "on" if question.get("partial_credit") else "",
        "tolerance": question.get("tolerance", ""),
    }
    if kind in _ANSWER_FIELD:
        return {**values, _ANSWER_FIELD[kind]: "\n".join(correct)}
    for option in question.get("options", []):
        values[f"option-{option['id']}"] = option["text"]
        values[f"correct-{option['id']}"] = "on" if option["id"] in correct else ""
    return values


def _question(form: Form, kind: str, question_id: str) -> dict[str, Any]:
    """Return the question of a form as the API takes it; what is missing is refused there."""
    question: dict[str, Any] = {"id": question_id, "kind": kind, "text": form["text"]}
    question["points"] = int(form["points"]) if form["points"].isdecimal() else 1
    if form["explanation"]:
        question["explanation"] = form["explanation"]
    if kind in _ANSWER_FIELD:
        given = form[_ANSWER_FIELD[kind]].splitlines()
        question["correct"] = [text for each in given if (text := each.strip())]
        if kind == "numeric":
            question["correct"] = [each.replace(",", ".") for each in question["correct"]]
            if form["tolerance"]:
                question["tolerance"] = form["tolerance"].replace(",", ".")
        return question
    ids = [name.removeprefix("option-") for name in form.values if name.startswith("option-") and form[name]]
    question["options"] = [{"id": each, "text": form[f"option-{each}"]} for each in ids]
    question["correct"] = [each for each in ids if form[f"correct-{each}"]]
    question["multiple"] = bool(form["multiple"]) or len(question["correct"]) > 1
    if question["multiple"] and form["partial_credit"]:
        question["partial_credit"] = True
    return question


def _places(number: int, kind: str) -> dict[str, str]:
    """Return the fields by the beginnings of JSON pointers to the question."""
    pointer = f"/content/questions/{number}"
    answer = _ANSWER_FIELD.get(kind, "options")
    names = {"text": "text", "points": "points", "explanation": "explanation", "tolerance": "tolerance"}
    return {f"{pointer}/{name}": field for name, field in names.items()} | {
        f"{pointer}/correct": answer,
        f"{pointer}/options": "options",
    }
