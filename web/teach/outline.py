"""The outline of a course: sections and lessons, and their order."""

from coursebus import errors, models
from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from web.api import client
from web.language import _, mark

from .blueprint import authors_only, blueprint, course_page, saved, working_copy

KINDS = {"text": mark("Text"), "video": mark("Video"), "quiz": mark("Quiz")}
Order = list[tuple[str, list[str]]]  # the ids of sections, with those of their lessons


@blueprint.get("/<course_id>/outline")
@authors_only
def outline(course_id: str) -> str:
    """Show sections and lessons with the forms that change their order."""
    return course_page("outline.html", working_copy(course_id), kinds=KINDS)


def _to_outline(course_id: str, anchor: str | None = None) -> Response:
    return redirect(url_for("teach.outline", course_id=course_id, _anchor=anchor), 303)


@blueprint.post("/<course_id>/sections")
@authors_only
def add_section(course_id: str) -> ResponseReturnValue:
    """Append a section."""
    section = client().create_section(course_id, models.SectionFields(title=request.form.get("title", "").strip()))
    return _to_outline(course_id, f"s-{section.id}")


@blueprint.post("/<course_id>/sections/<section_id>")
@authors_only
def change_section(course_id: str, section_id: str) -> ResponseReturnValue:
    """Rename a section, or delete an empty one."""
    version = request.form.get("version", 0, int)
    if request.form.get("action") == "delete":
        client().delete_section(course_id, section_id, if_match=version)
        return saved(url_for("teach.outline", course_id=course_id), _("The section was deleted."))
    fields = models.SectionFields(title=request.form.get("title", "").strip())
    client().update_section(course_id, section_id, fields, if_match=version)
    return _to_outline(course_id, f"s-{section_id}")


@blueprint.post("/<course_id>/order")
@authors_only
def move(course_id: str) -> ResponseReturnValue:
    """Move a section or lesson by one place; a lesson at the end of its section moves to the next one."""
    course = working_copy(course_id)
    direction, moved = ("up", request.form["up"]) if "up" in request.form else ("down", request.form.get("down", ""))
    order: Order = [(section.id, [lesson.id for lesson in section.lessons]) for section in course.sections]
    step = -1 if direction == "up" else 1
    if moved in dict(order):
        _move_section(order, moved, step)
    else:
        _move_lesson(order, moved, step)
    body = models.Outline(sections=[models.PlannedSection(id=id_, lessons=lessons) for id_, lessons in order])
    try:
        client().replace_outline(course_id, body, if_match=request.form.get("version", 0, int))
    except errors.PreconditionFailed:
        flash(_("Another instructor has changed the outline. This is the present one."), "problem")
    return _to_outline(course_id, moved)


def _move_section(order: Order, moved: str, step: int) -> None:
    place = [id_ for id_, _lessons in order].index(moved)
    if 0 <= place + step < len(order):
        order[place], order[place + step] = order[place + step], order[place]


def _move_lesson(order: Order, moved: str, step: int) -> None:
    number = next((number for number, (_id, lessons) in enumerate(order) if moved in lessons), None)
    if number is None:  # deleted since
        return
    lessons = order[number][1]
    place = lessons.index(moved)
    if 0 <= place + step < len(lessons):
        lessons[place], lessons[place + step] = lessons[place + step], lessons[place]
    elif 0 <= number + step < len(order):
        lessons.remove(moved)
        beside = order[number + step][1]
        beside.insert(len(beside) if step < 0 else 0, moved)


@blueprint.route("/<course_id>/lessons/<lesson_id>/delete", methods=["GET", "POST"])
@authors_only
def delete_lesson(course_id: str, lesson_id: str) -> ResponseReturnValue:
    """Ask once, then remove a lesson from the outline."""
    course = working_copy(course_id)
    if request.method == "POST":
        client().delete_lesson(course_id, lesson_id, if_match=course)
        return saved(url_for("teach.outline", course_id=course_id), _("The lesson was deleted."))
    return render_template(
        "confirm.html",
        title=_("Delete this lesson?"),
        subject=client().get_lesson(course_id, lesson_id).title,
        text=_("Learners of a published version keep it until they move to a version without it."),
        button=_("Delete"),
        back=url_for("teach.outline", course_id=course_id),
    )
