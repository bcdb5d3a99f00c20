"""How a course is bought, learned and rated, as the console shows it to staff."""

from flask import request

from web.api import client
from web.console.courses import period

from .blueprint import authors_only, blueprint, course_page, working_copy


@blueprint.get("/<course_id>/statistics")
@authors_only
def statistics(course_id: str) -> str:
    """Show charts by day, and where learners stop."""
    return course_page(
        "statistics.html",
        working_copy(course_id),
        statistics=client().get_course_statistics(course_id, **period()),
        days=request.args.get("days", "30"),
    )
