"""What all pages of the console share: the blueprint, permissions, confirmation, and lists of one page."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from coursebus import errors
from flask import Blueprint, abort, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug import Response

from web.language import mark
from web.navigation import own_path
from web.security import has_permission, sign_in_required

from . import words

P = ParamSpec("P")
T = TypeVar("T")

blueprint = Blueprint("console", __name__, url_prefix="/console")
words.add_filters(blueprint)

PEOPLE = ("users:admin",)
MONEY = ("payments:read", "payments:admin", "payments:refund")
OPERATIONS = ("ops:admin",)
STAFF = (*PEOPLE, *MONEY, *OPERATIONS, "courses:admin", "courses:write", "notifications:admin")
SECTIONS = (
    ("console.people", mark("People"), PEOPLE),
    ("console.courses", mark("Courses"), ("courses:write", "courses:admin")),
    ("console.sales", mark("Sales"), ("payments:read", "payments:admin")),
    ("console.reviews", mark("In review"), MONEY),
    ("console.coupons", mark("Coupons"), ("payments:admin",)),
    ("console.ledger", mark("Ledger"), MONEY),
    ("console.webhooks", mark("Webhooks"), OPERATIONS),
    ("console.dead_letters", mark("Dead letters"), OPERATIONS),
    ("console.status", mark("Status"), OPERATIONS),
    ("console.traced_requests", mark("Requests"), OPERATIONS),
    ("console.audit", mark("Audit"), OPERATIONS),
)


@dataclass(frozen=True)
class Field:
    """An input on a confirmation page."""

    name: str
    label: str
    value: str = ""
    type: str = "text"
    required: bool = True
    options: Mapping[str, str] = field(default_factory=dict)  # values with their texts


def staff_only(
    *permissions: str,
) -> Callable[[Callable[P, ResponseReturnValue]], Callable[P, ResponseReturnValue]]:
    """Show a page to accounts with one of ``permissions`` only."""

    def decorate(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            if not has_permission(*permissions):
                abort(403)
            return view(*args, **kwargs)

        return sign_in_required(guarded)

    return decorate


def ask(title: str, subject: str, *, text: str, button: str, back: str, fields: Iterable[Field] = ()) -> str:
    """Return the page that asks whether to execute an action; its form posts to the same address."""
    return render_template(
        "console/confirm.html", title=title, subject=subject, text=text, button=button, back=back, fields=[*fields]
    )


def done(text: str, back: str) -> Response:
    """Return to the page of the object, with a message."""
    flash(text)
    return redirect(own_path(back), 303)


def refused(text: str, back: str) -> Response:
    """Return to the page of the object, with a message that says why nothing was changed."""
    flash(text, "problem")
    return redirect(own_path(back), 303)


def optional(read: Callable[[], T]) -> T | None:
    """Return what ``read`` returns; None if the account may not see it, or if it does not exist."""
    try:
        return read()
    except (errors.Forbidden, errors.NotFound):
        return None


def page_of(pages: Any) -> Any:
    """Return the page of a list that the query parameter ``cursor`` names."""
    return pages.page(request.args.get("cursor"))


@blueprint.app_context_processor
def _navigation() -> dict[str, Any]:
    return {"console_sections": [(name, title) for name, title, needed in SECTIONS if has_permission(*needed)]}
