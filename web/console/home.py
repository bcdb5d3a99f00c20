"""The start of the console: what needs attention, and the most popular courses."""

from typing import Any

from flask import render_template

from web.api import client
from web.language import mark
from web.security import has_permission

from .blueprint import MONEY, OPERATIONS, STAFF, blueprint, optional, staff_only

_SHOWN = 100  # a list with more is shown as "100+"
_BARS = 10


@blueprint.get("/")
@staff_only(*STAFF)
def home() -> str:
    """Show counts of what waits for staff, and a chart of learners by course."""
    popular = client().list_courses(sort="popular", limit=_BARS).page().items
    return render_template(
        "console/home.html",
        waiting=_waiting(),
        bars=[(course.title, course.learners) for course in popular if course.learners],
    )


def _waiting() -> list[tuple[str, str, int]]:
    """Return title, endpoint and number of each kind of waiting work that the account may see."""
    found = []
    if has_permission(*MONEY):
        reviews = (
            _count(client().list_payments(status="review", limit=_SHOWN)),
            _count(client().list_refunds(status="review", limit=_SHOWN)),
            _count(client().list_disputes(status="review", limit=_SHOWN)),
        )
        open_disputes = _count(client().list_disputes(status="open", limit=_SHOWN))
        found += [(mark("Payments in review"), "console.reviews", sum(reviews))]
        found += [(mark("Open disputes"), "console.reviews", open_disputes)]
    if has_permission(*OPERATIONS):
        dead_letters = _count(client().list_dead_letters(status="open", limit=_SHOWN))
        quarantine = _count(client().list_quarantined_events(limit=_SHOWN))
        found += [
            (mark("Dead letters"), "console.dead_letters", dead_letters),
            (mark("Events in quarantine"), "console.dead_letters", quarantine),
        ]
    return found


def _count(pages: Any) -> int:
    """Return the number of items on the first page; 0 if the account may not see the list."""
    page = optional(pages.page)
    return len(page.items) if page else 0
