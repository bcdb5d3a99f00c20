"""Statistics of a course and of the shop."""

from typing import Annotated

import typer

from ._output import Column, money
from ._state import state_of

statistics = typer.Typer(no_args_is_help=True, help="Show how courses are bought and learned.")

Day = Annotated[str | None, typer.Option(help="A day such as 2026-03-01.")]

_MONEY: Column = (
    "revenue",
    lambda each: " ".join(money(sum_.revenue_minor, sum_.currency) for sum_ in each.revenue),
)
_COURSE_DAYS: list[Column] = [
    ("day", lambda each: each.day),
    ("enrollments", lambda each: each.enrollments),
    ("active", lambda each: each.active_learners),
    ("lessons", lambda each: each.lessons_completed),
    ("completions", lambda each: each.completions),
    _MONEY,
]


@statistics.command("course")
def show_course(context: typer.Context, course: str, since: Day = None, until: Day = None) -> None:
    """Show a course by day."""
    state = state_of(context)
    found = state.client.get_course_statistics(state.course_id(course), since=since, until=until)
    if state.output.as_json:
        state.output.item(found, {})
        return
    state.output.items(found.days, _COURSE_DAYS)


@statistics.command("shop")
def show_shop(context: typer.Context, since: Day = None, until: Day = None) -> None:
    """Show the sales of the shop by day."""
    state = state_of(context)
    found = state.client.get_shop_statistics(since=since, until=until)
    if state.output.as_json:
        state.output.item(found, {})
        return
    state.output.items(found.days, [_COURSE_DAYS[0], _COURSE_DAYS[1], _COURSE_DAYS[4], _MONEY])
