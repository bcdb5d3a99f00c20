"""Check a course, publish it, take it off sale, and return to an earlier version."""

import re
from dataclasses import dataclass

from coursebus import errors, models
from flask import flash, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client
from web.errors import message_of
from web.language import _

from .blueprint import authors_only, blueprint, course_page, saved, working_copy

_LESSON = re.compile(r"/sections/(\d+)/lessons/(\d+)(/.*)?")
_VERSIONS = 10
_ANCHORS = {
    "/completion": "rule",
    "/duration_seconds": "duration",
    "/content/questions": "questions",
    "/content/settings": "pools",
    "/content": "content",
    "/unlock": "unlock",
}


@dataclass(frozen=True)
class Problem:
    """What prevents the publication, or is missing, with the page that has its field."""

    text: str
    place: str
    address: str


@blueprint.get("/<course_id>/publish")
@authors_only
def publishing(course_id: str) -> str:
    """Show what a publication would change, whom it concerns, and what prevents it."""
    return _page(working_copy(course_id))


def _page(course: models.Course) -> str:
    preview = client().preview_publication(course.id)
    return course_page(
        "publish.html",
        course,
        preview=preview,
        problems=_problems(course, preview.errors),
        advice=_advice(course),
        versions=client().list_course_versions(course.id, limit=_VERSIONS).page().items,
    )


@blueprint.post("/<course_id>/publish")
@authors_only
def publish(course_id: str) -> ResponseReturnValue:
    """Publish the working copy as this page has shown it."""
    body = models.Publication(learners="move" if request.form.get("learners") == "move" else "keep")
    try:
        client().publish_course(course_id, body, if_match=request.form.get("version", 0, int))
    except errors.PreconditionFailed:
        flash(_("Another instructor has changed the course. Please check what would be published now."), "problem")
        return _page(working_copy(course_id)), 412
    except (errors.ValidationFailed, errors.Conflict) as refusal:
        flash(message_of(refusal), "problem")
        return _page(working_copy(course_id)), 422
    return saved(url_for("teach.publishing", course_id=course_id), _("The course is on sale as it is now."))


@blueprint.post("/<course_id>/unpublish")
@authors_only
def unpublish(course_id: str) -> ResponseReturnValue:
    """Take the course off sale; its learners keep it."""
    client().unpublish_course(course_id)
    return saved(url_for("teach.publishing", course_id=course_id), _("The course is no longer on sale."))


@blueprint.post("/<course_id>/versions/<int:number>/restore")
@authors_only
def restore_version(course_id: str, number: int) -> ResponseReturnValue:
    """Replace the working copy by an earlier version."""
    client().restore_course_version(course_id, number, if_match=request.form.get("version", 0, int))
    text = _("The draft is version %(number)s again. Publish it to put it on sale.") % {"number": number}
    return saved(url_for("teach.publishing", course_id=course_id), text)


def _problems(course: models.Course, found: list[models.PublicationError]) -> list[Problem]:
    problems = [_problem(course, each) for each in found]
    if not course.lessons_total:
        text, address = _("The course has no lesson yet."), url_for("teach.outline", course_id=course.id)
        problems.append(Problem(text, _("Outline"), address))
    return problems


def _problem(course: models.Course, error: models.PublicationError) -> Problem:
    """Return an error with the name of its place and the address of its field."""
    match = _LESSON.fullmatch(error.pointer)
    if match is None:
        address = url_for("teach.details", course_id=course.id, _anchor=error.pointer.split("/")[1])
        return Problem(error.detail, _("Description"), address)
    lesson = course.sections[int(match[1])].lessons[int(match[2])]
    within = match[3] or ""
    anchor = next((name for pointer, name in _ANCHORS.items() if within.startswith(pointer)), None)
    return Problem(
        error.detail, lesson.title, url_for("teach.lesson", course_id=course.id, lesson_id=lesson.id, _anchor=anchor)
    )


def _advice(course: models.Course) -> list[Problem]:
    """Return what does not prevent a publication, but makes a course hard to find or sell."""
    address = url_for("teach.details", course_id=course.id)
    missing = {
        "summary": (not course.summary, _("The catalogue shows a summary of one or two sentences.")),
        "description": (not course.description, _("The page of the course has no description.")),
        "cover": (not course.cover_url, _("Without a cover a drawing is shown.")),
    }
    names = {"summary": _("Summary"), "description": _("Description"), "cover": _("Cover")}
    return [Problem(text, names[name], f"{address}#{name}") for name, (is_so, text) in missing.items() if is_so]
