"""Lessons: their texts and videos, rules of completion and opening, attachments and captions."""

from dataclasses import dataclass
from typing import Any, cast

import msgspec
from coursebus import errors, models
from flask import abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from msgspec import UNSET

from web.api import client
from web.language import _, mark

from .blueprint import authors_only, blueprint, course_page, saved, working_copy
from .forms import Current, Form, save
from .outline import KINDS
from .quiz_rules import QUIZ_NAMES, QUIZ_PLACES, quiz_content, quiz_names, quiz_values
from .uploads import ACCEPTED, RefusedUpload, receive

_NAMES = (
    *("title", "section", "body", "url", "duration", "free_preview", "rule", "min_score"),
    *("unlock", "after_days", "at"),
)
_PLACES = {
    "/section_id": "section",
    "/content/url": "url",
    "/content/body": "body",
    "/duration_seconds": "duration",
    "/completion": "rule",
    "/completion/min_score_percent": "min_score",
    "/unlock": "unlock",
    "/unlock/after_days": "after_days",
    "/unlock/at": "at",
    **QUIZ_PLACES,
}
RULES = {
    "manual": mark("The learner ticks it off"),
    "viewed": mark("It has been watched or read for its duration"),
    "min_score": mark("The quiz was passed"),
}
UNLOCKS = {
    "": mark("At once"),
    "after_days": mark("Some days after the enrollment"),
    "at": mark("At a time"),
}
QUESTION_KINDS = {
    "choice": mark("Choice"),
    "true_false": mark("True or false"),
    "short_text": mark("Short text"),
    "numeric": mark("Number"),
}


@dataclass(frozen=True)
class Place:
    """A lesson with its course, read in this order: a newer lesson fails at the version of the course."""

    course: models.Course
    lesson: models.Lesson


def read_place(course_id: str, lesson_id: str) -> Place:
    """Return the working copy of a lesson. Raises NotFound."""
    course = working_copy(course_id)
    return Place(course, client().get_lesson(course_id, lesson_id))


def content_of(lesson: models.Lesson) -> dict[str, Any]:
    """Return the content of a lesson as it is written: without the link to an uploaded video."""
    content: dict[str, Any] = msgspec.to_builtins(lesson.content)
    if "file_id" in content:
        content.pop("url", None)
    return content


def write_content(place: Place, content: dict[str, Any]) -> None:
    """Replace the content of a lesson."""
    changes = models.LessonChanges(content=msgspec.convert(content, models.Content))
    client().update_lesson(place.course.id, place.lesson.id, changes, if_match=place.course)


@blueprint.route("/<course_id>/lessons/new", methods=["GET", "POST"])
@authors_only
def new_lesson(course_id: str) -> ResponseReturnValue:
    """Create a lesson at the end of a section; a quiz begins with its first question."""
    course = working_copy(course_id)
    source = request.form if request.method == "POST" else request.args
    section_id, kind = source.get("section", ""), source.get("kind", "text")
    if kind not in KINDS or section_id not in {each.id for each in course.sections}:
        abort(404)
    form = (
        Form.posted(("title", "body", "url"))
        if request.method == "POST"
        else Form.of({"title": source.get("title", "")})
    )
    if kind == "quiz" and request.method == "POST":
        first = request.form.get("question", "choice")
        title = form["title"]
        return redirect(
            url_for("teach.new_quiz", course_id=course_id, section=section_id, title=title, kind=first), 303
        )
    if request.method == "POST":
        try:
            lesson = _create(course_id, section_id, cast("models.LessonKind", kind), form)
            return saved(url_for("teach.lesson", course_id=course_id, lesson_id=lesson.id), _("The lesson was added."))
        except RefusedUpload as refusal:
            form.problems["url"] = str(refusal)
        except errors.ValidationFailed as refusal:
            form.refuse(refusal, _PLACES)
    page = course_page(
        "lesson_new.html",
        course,
        form=form,
        section_id=section_id,
        kind=kind,
        kinds=KINDS,
        question_kinds=QUESTION_KINDS,
        accepted=ACCEPTED,
    )
    return page, 422 if form.problems else 200


def _create(course_id: str, section_id: str, kind: models.LessonKind, form: Form) -> models.Lesson:
    if kind == "text":
        content = models.Content(body=form["body"])
    elif form["url"]:
        content = models.Content(url=form["url"])
    else:
        content = models.Content(file_id=receive(course_id, "video"))
    fields = models.LessonFields(title=form["title"], section_id=section_id, kind=kind, content=content)
    return client().create_lesson(course_id, fields)


@blueprint.get("/<course_id>/lessons/<lesson_id>")
@authors_only
def lesson(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Show the forms of a lesson."""
    place = read_place(course_id, lesson_id)
    return _page(place, Form.of(_values(place.lesson)))


@blueprint.post("/<course_id>/lessons/<lesson_id>")
@authors_only
def change_lesson(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Save a lesson, or show how its Markdown looks."""
    place = read_place(course_id, lesson_id)
    names = (*_NAMES, *quiz_names(place.lesson)) if place.lesson.kind == "quiz" else _NAMES
    form = Form.posted(names)
    if request.form.get("action") == "preview":
        return _page(place, form, preview=form["body"])

    def read() -> Current:
        now = read_place(course_id, lesson_id)
        return Current(now.course.version, _values(now.lesson), now)

    def write(current: Current) -> None:
        changes = _changes(form, current.source.lesson)
        client().update_lesson(course_id, lesson_id, changes, if_match=current.version)

    if _check_numbers(form) and save(form, read, write, _PLACES):
        return saved(url_for("teach.lesson", course_id=course_id, lesson_id=lesson_id))
    return _page(read_place(course_id, lesson_id), form), 422


def _page(place: Place, form: Form, **values: Any) -> str:
    has_quiz = place.lesson.kind == "quiz"
    return course_page(
        "lesson.html",
        place.course,
        lesson=place.lesson,
        form=form,
        rules={name: text for name, text in RULES.items() if name != ("viewed" if has_quiz else "min_score")},
        unlocks=UNLOCKS,
        question_kinds=QUESTION_KINDS,
        accepted=ACCEPTED,
        **values,
    )


def _values(lesson: models.Lesson) -> dict[str, str]:
    content, unlock, completion = content_of(lesson), lesson.unlock, lesson.completion
    after_days = unlock.after_days if unlock and unlock.after_days is not UNSET else None
    at = unlock.at if unlock and unlock.at is not UNSET else None
    values = {
        "title": lesson.title,
        "section": lesson.section_id,
        "body": content.get("body", ""),
        "url": content.get("url", ""),
        "duration": show_duration(lesson.duration_seconds),
        "free_preview": "on" if lesson.free_preview else "",
        "rule": completion.rule,
        "min_score": str(completion.min_score_percent) if completion.min_score_percent is not UNSET else "",
        "unlock": "at" if at else "after_days" if after_days is not None else "",
        "after_days": "" if after_days is None else str(after_days),
        "at": str(at)[:16] if at else "",
    }
    return {**values, **quiz_values(content)} if lesson.kind == "quiz" else values


def show_duration(seconds: int | None) -> str:
    """Return a duration as it is typed: minutes and seconds."""
    return "" if seconds is None else f"{seconds // 60}:{seconds % 60:02d}"


def parse_duration(text: str) -> int | None:
    """Return the seconds of "12:30", or of "12" minutes; None for an empty text. Raises ValueError."""
    if not text:
        return None
    minutes, _colon, seconds = text.partition(":")
    return int(minutes) * 60 + int(seconds or 0)


def _check_numbers(form: Form) -> bool:
    """Show which of the fields are no numbers."""
    for name in ("min_score", "after_days", *QUIZ_NAMES["numbers"]):
        if form[name] and not form[name].isdecimal():
            form.problems[name] = _("A whole number.")
    for name in ("duration", "time_limit"):
        try:
            parse_duration(form[name])
        except ValueError:
            form.problems[name] = _("Minutes and seconds, such as 12:30.")
    return not form.problems


def _changes(form: Form, lesson: models.Lesson) -> models.LessonChanges:
    content = content_of(lesson)
    if lesson.kind == "text":
        content = {"body": form["body"]}
    elif lesson.kind == "quiz":
        content = quiz_content(form, content)
    elif form["url"]:
        content = {"url": form["url"]}
    rule = cast("models.CompletionRule", form["rule"] or "manual")
    completion = models.Completion(rule=rule)
    if rule == "min_score":
        completion.min_score_percent = int(form["min_score"] or 0)
    return models.LessonChanges(
        title=form["title"],
        # The API moves a lesson to the end of the section that is named, also of its own.
        section_id=form["section"] if form["section"] != lesson.section_id else UNSET,
        content=msgspec.convert(content, models.Content),
        duration_seconds=parse_duration(form["duration"]),
        free_preview=bool(form["free_preview"]),
        completion=completion,
        unlock=_unlock(form),
    )


def _unlock(form: Form) -> models.Unlock | None:
    if form["unlock"] == "after_days":
        return models.Unlock(after_days=int(form["after_days"] or 0))
    if form["unlock"] == "at":
        return models.Unlock(at=f"{form['at']}:00Z")
    return None


@blueprint.post("/<course_id>/lessons/<lesson_id>/video")
@authors_only
def set_video(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Replace the video of a lesson by an uploaded one."""
    back = url_for("teach.lesson", course_id=course_id, lesson_id=lesson_id, _anchor="video")
    try:
        file_id = receive(course_id, "video")
    except RefusedUpload as refusal:
        flash(str(refusal), "problem")
        return redirect(back, 303)
    write_content(read_place(course_id, lesson_id), {"file_id": file_id})
    return saved(back)


@blueprint.post("/<course_id>/lessons/<lesson_id>/files")
@authors_only
def add_lesson_file(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Add an attachment or captions to a lesson, or remove one."""
    back = url_for("teach.lesson", course_id=course_id, lesson_id=lesson_id, _anchor="files")
    removed = request.form.get("remove")
    added = None
    if not removed:
        role: models.LessonFileRole = "captions" if request.form.get("role") == "captions" else "attachment"
        try:
            added = models.LessonFile(file_id=receive(course_id, role), role=role)
        except RefusedUpload as refusal:
            flash(str(refusal), "problem")
            return redirect(back, 303)
        if label := request.form.get("label", "").strip():
            added.label = label
        if role == "captions":
            added.language = request.form.get("language", "").strip().lower() or "en"
    place = read_place(course_id, lesson_id)
    kept = [_without_link(each) for each in place.lesson.files or [] if each.file_id != removed]
    changes = models.LessonChanges(files=[*kept, *([added] if added else [])])
    client().update_lesson(course_id, lesson_id, changes, if_match=place.course)
    return saved(back, _("The file was removed.") if removed else _("The file was added."))


def _without_link(file: models.LessonFileLink) -> models.LessonFile:
    return models.LessonFile(
        file_id=file.file_id,
        role=cast("models.LessonFileRole", file.role),
        language=file.language,
        label=file.label,
    )
