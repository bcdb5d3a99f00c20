"""People: find them, show everything about them, explain and change their access, erase them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from coursebus import errors, models

from ._failures import CommandFailed, ExitCode, explain
from ._output import Column, columns_of
from ._sales import ORDER_COLUMNS
from ._state import State, profile_fields, state_of

people = typer.Typer(no_args_is_help=True, help="Find people and show everything about them.")
access = typer.Typer(no_args_is_help=True, help="Explain, grant and revoke access to courses.")

_PEOPLE_COLUMNS: list[Column] = [
    ("person", lambda each: each.id),
    ("e-mail", lambda each: each.email),
    ("name", lambda each: each.name),
    ("roles", lambda each: each.roles),
]
_REASON_COLUMNS: list[Column] = [
    ("reason", lambda each: each.kind),
    ("state", lambda each: each.state),
    ("gives access", lambda each: each.gives_access),
    ("since", lambda each: each.since),
    ("until", lambda each: each.until),
    ("id", lambda each: each.order_id or each.subscription_id or each.granted_by),
    ("explanation", lambda each: each.detail),
]


@people.command()
def find(context: typer.Context, who: Annotated[str, typer.Argument(help="Address, its beginning, or words.")]) -> None:
    """Find people by e-mail address, by its beginning, or by words of name and address."""
    state = state_of(context)
    found = list(state.client.list_users(email=who)) if "@" in who else []
    found = found or list(state.client.list_users(email_prefix=who, limit=100))
    state.output.items(found or state.client.list_users(q=who, limit=100), _PEOPLE_COLUMNS)


@people.command("show")
def show_person(context: typer.Context, person: Annotated[str, typer.Argument(help="Id or e-mail address.")]) -> None:
    """Show everything about a person."""
    state = state_of(context)
    person_id = state.person_id(person)
    profile = state.client.get_user(person_id)
    client = state.client
    lists: dict[str, tuple[Iterable[Any], list[Column]]] = {
        "orders": (client.list_user_orders(person_id, limit=100), ORDER_COLUMNS),
        "subscriptions": (
            client.list_user_subscriptions(person_id, limit=100),
            columns_of("id", "status", "plan_name", "period_end"),
        ),
        "enrollments": (
            client.list_user_enrollments(person_id, limit=100),
            columns_of("course_id", "status", "progress_percent", "enrolled_at"),
        ),
        "notifications": (
            client.list_user_notifications(person_id, limit=100),
            columns_of("created_at", "category", "channel", "state", "reason"),
        ),
        "devices": (client.list_user_devices(person_id, limit=100), columns_of("id", "kind", "created_at")),
    }
    if state.output.as_json:
        state.output.item({"profile": profile, **{name: list(found) for name, (found, _) in lists.items()}}, {})
        return
    state.output.item(profile, profile_fields(profile))
    for name, (found, columns) in lists.items():
        state.output.items(found, columns, title=f"\n{name.capitalize()}")


@access.command()
def why(context: typer.Context, person: str, course: str) -> None:
    """Say whether a person has access to a course, and why."""
    state = state_of(context)
    _show_access(state, state.client.get_user_access(state.person_id(person), course_id=state.course_id(course)))


@access.command()
def grant(
    context: typer.Context,
    course: str,
    person: Annotated[list[str] | None, typer.Argument(help="Ids or e-mail addresses.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with one id or address in each line.")] = None,
    until: Annotated[str, typer.Option(help="When access ends (2030-01-31 or with a time, UTC); else never.")] = "",
) -> None:
    """Give people access to a course. A person who cannot get it does not stop the others."""
    state = state_of(context)
    wanted = [*(person or []), *(_lines(file) if file else [])]
    if not wanted:
        raise CommandFailed("No person was named.", "Name people, or a --file of them.", exit_code=ExitCode.USAGE)
    body = models.AccessGrant(course_id=state.course_id(course), ends_at=end_of(until))
    granted, failed = [], []
    with state.output.progress("Grant access", len(wanted)) as advance:
        for each in wanted:
            try:
                granted.append(state.client.grant_access(state.person_id(each), body))
            except (errors.ApiError, CommandFailed) as error:
                failed.append({"person": each, **explain(error)[0]})
            advance(1)
    for failure in failed:
        state.output.error(failure)
    state.output.done(f"{len(granted)} of {len(wanted)} have access.", {"granted": granted, "failed": failed})
    if failed:
        raise typer.Exit(ExitCode.FAILED)


@access.command()
def extend(
    context: typer.Context,
    course: str,
    person: str,
    until: Annotated[str, typer.Option(help="When access ends (2030-01-31 or with a time, UTC).")] = "",
    without_end: Annotated[bool, typer.Option("--without-end", help="Access has no end.")] = False,
) -> None:
    """Change when a person's access to a course ends, also after its end."""
    if bool(until) == without_end:
        raise CommandFailed("No end was named.", "Name --until or --without-end.", exit_code=ExitCode.USAGE)
    state = state_of(context)
    course_id, person_id = state.course_id(course), state.person_id(person)
    learner = state.client.get_course_learner(course_id, person_id)
    body = models.AccessEnd(ends_at=end_of(until))
    changed = state.client.change_access_end(course_id, person_id, body, if_match=learner)
    state.output.done(f"Access ends {changed.expires_at or 'never'}.", changed)


@access.command()
def revoke(
    context: typer.Context,
    course: str,
    person: str,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """End access that staff gave, or a free enrollment. What was bought ends by a refund."""
    state = state_of(context)
    person_id, course_id = state.person_id(person), state.course_id(course)
    state.confirm(f"Revoke access of {person} to {course}?", yes=yes)
    _show_access(state, state.client.revoke_access(person_id, models.AccessChange(course_id=course_id)))


def erase(
    context: typer.Context,
    person: Annotated[str, typer.Argument(help="Id or e-mail address.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for all services.")] = 300,
) -> None:
    """Erase a person's data in every service and show the receipt. This cannot be undone."""
    state = state_of(context)
    profile = state.client.get_user(state.person_id(person))
    state.confirm(f"Erase all personal data of {profile.email} ({profile.id}) for good?", yes=yes)
    operation = state.client.erase_user(profile.id, if_match=profile)
    state.output.note(f"Operation {operation.id}; waiting for every service …")
    receipt = state.client.wait(operation, timeout=timeout)
    state.output.done(f"Erased {profile.id}: {receipt}", receipt)


def _show_access(state: State, shown: models.UserAccess) -> None:
    if state.output.as_json:
        state.output.item(shown, {})
        return
    until = f" until {shown.until}" if shown.until else ""
    state.output.done(f"Has access since {shown.since}{until}." if shown.access else "Has no access.")
    state.output.items(shown.reasons, _REASON_COLUMNS)
    if not shown.reasons:
        state.output.note("Never enrolled, ordered or subscribed. Next: coursebus access grant COURSE PERSON")


def end_of(until: str) -> str | None:
    """Return the time that a user typed, UTC, or None. Raises CommandFailed."""
    if not until:
        return None
    try:
        moment = datetime.fromisoformat(until)
    except ValueError as error:
        exit_code = ExitCode.USAGE
        raise CommandFailed(f"{until} is no date.", "Write it as 2030-01-31.", exit_code=exit_code) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text().splitlines() if line.strip()]
    except OSError as error:
        exit_code = ExitCode.USAGE
        raise CommandFailed(str(error), "Give a readable file.", code="file_invalid", exit_code=exit_code) from error
