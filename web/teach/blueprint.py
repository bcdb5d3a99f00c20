"""What all pages for authors share: the blueprint, its limits and permission, and the frame of a course."""

from collections.abc import Callable
from typing import Any, ParamSpec

from coursebus import models
from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug import Response

from web.api import client, is_signed_in
from web.console.blueprint import staff_only
from web.language import _, mark
from web.navigation import own_path

P = ParamSpec("P")

blueprint = Blueprint("teach", __name__, url_prefix="/teach")

PERMISSION = "courses:write"
_FORM_BYTES_MAX = (
    1024 * 1024
)  # no server process takes a longer body; the script sends larger files to the store itself
TABS = (
    ("teach.details", mark("Description")),
    ("teach.outline", mark("Outline")),
    ("teach.try_course", mark("Try it")),
    ("teach.publishing", mark("Publish")),
    ("teach.learners", mark("Learners")),
    ("teach.announcements", mark("Announcements")),
    ("teach.reviews", mark("Reviews")),
    ("teach.statistics", mark("Statistics")),
    ("teach.instructors", mark("Instructors")),
)


@blueprint.url_value_preprocessor
def _allow_long_forms(_endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """Raise the limit for people who are signed in, before the form token is read from the form."""
    if not is_signed_in():
        return
    request.max_content_length = request.max_form_memory_size = _FORM_BYTES_MAX


@blueprint.context_processor
def _helpers() -> dict[str, Any]:
    return {
        "translated": lambda texts: {name: _(text) for name, text in texts.items()},
        "section_titles": lambda course: {each.id: each.title for each in course.sections},
    }


def authors_only(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Show a page to people who may write courses; the API checks which ones."""
    return staff_only(PERMISSION)(view)


def course_page(template: str, course: models.Course, **values: Any) -> str:
    """Return a page of a course, below its title and the tabs."""
    return render_template(f"teach/{template}", course=course, tabs=TABS, **values)


def saved(address: str, text: str | None = None) -> Response:
    """Return to a page after a change, with a message."""
    flash(text or _("Saved."))
    return redirect(own_path(address), 303)


def working_copy(course_id: str) -> models.Course:
    """Return the course as its authors see it. Raises NotFound for courses of other authors, and archived ones."""
    return client().get_outline(course_id)
