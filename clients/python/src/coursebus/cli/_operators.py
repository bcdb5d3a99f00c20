"""For operators: operations, dead letters, replays, jobs, the event feed and the audit log."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
import typer

from coursebus import models

from ._failures import CommandFailed, ExitCode
from ._output import Column, columns_of
from ._state import state_of

operations = typer.Typer(no_args_is_help=True, help="Commands that run in the background.")
dead_letters = typer.Typer(no_args_is_help=True, help="Events that a handler could not process.")
replay = typer.Typer(no_args_is_help=True, help="Send events, webhooks and notifications again.")
jobs = typer.Typer(no_args_is_help=True, help="Periodic jobs.")
events = typer.Typer(no_args_is_help=True, help="The feed of all events.")
requests = typer.Typer(no_args_is_help=True, help="What requests have caused: events and their handlers.")
audit = typer.Typer(no_args_is_help=True, help="What staff changed and whose data they read.")


@operations.command("list")
def list_operations(
    context: typer.Context,
    status: str = "",
    everyone: Annotated[bool, typer.Option("--all", help="Of all callers, without results.")] = False,
) -> None:
    """List operations, newest first."""
    state = state_of(context)
    found = state.client.list_operations(status=status or None, everyone=everyone or None, limit=100)  # type: ignore[arg-type]
    state.output.items(found, columns_of("id", "kind", "status", "created_at", "finished_at"))


@operations.command("show")
def show_operation(
    context: typer.Context,
    operation: str,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
) -> None:
    """Show an operation, or wait for its end."""
    state = state_of(context)
    shown = state.client.get_operation(operation)
    if wait:
        state.output.done(f"{operation} has ended.", state.client.wait(shown))
        return
    error = shown.error.detail if shown.error else None
    state.output.item(shown, {"operation": shown.id, "command": shown.kind, "status": shown.status, "error": error})


@operations.command("cancel")
def cancel_operation(context: typer.Context, operation: str) -> None:
    """Cancel an operation that has not started."""
    state = state_of(context)
    state.output.done(f"Canceled {operation}.", state.client.cancel_operation(operation))


@dead_letters.command("list")
def list_dead_letters(
    context: typer.Context, status: Annotated[str, typer.Option(help="open, replayed …")] = "open"
) -> None:
    """List dead letters by service, oldest first."""
    state = state_of(context)
    found = state.client.list_dead_letters(status=status, limit=100)  # type: ignore[arg-type]
    state.output.items(found, columns_of("id", "handler", "event_type", "key", "status", "reason", "created_at"))


@dead_letters.command("replay")
def replay_dead_letters(
    context: typer.Context,
    dead_letter: Annotated[list[str] | None, typer.Argument(help="Ids; each replays its handler and key.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
) -> None:
    """Hand events to their handlers again, in order. Stops at a key whose event fails again."""
    state = state_of(context)
    waiting = [each.id for each in state.client.list_dead_letters(status="open", limit=100)]
    wanted = waiting if everything else list(dead_letter or [])
    if not (wanted or everything):
        raise CommandFailed("No dead letter was named.", "Name ids, or --all.", exit_code=ExitCode.USAGE)
    replayed: set[str] = set()
    failed: list[models.FailedReplay] = []
    with state.output.progress("Replay", len(wanted)) as advance:
        for each in wanted:
            while each not in replayed and not any(each == failure.id for failure in failed):
                result = state.client.replay_dead_letter(each)
                replayed.update(result.replayed)
                if result.failed:
                    failed.append(result.failed)
                if result.failed or not result.remaining:
                    break
            advance(1)
    state.output.done(f"Replayed {len(replayed)}.", {"replayed": sorted(replayed), "failed": failed})
    for failure in failed:
        state.output.note(f"{failure.id} failed again: {failure.error}. Next: fix its cause, then replay it.")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


@replay.command("events")
def replay_events(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Id of the webhook endpoint.")],
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="In UTC.")],
) -> None:
    """Send all events since a time to a webhook endpoint again."""
    state = state_of(context)
    body = models.ReplayRequest(since=since.replace(tzinfo=UTC).isoformat())
    state.output.done("Scheduled.", state.client.replay_events(endpoint, body))


@replay.command("delivery")
def replay_delivery(context: typer.Context, endpoint: str, delivery: str) -> None:
    """Send one webhook again."""
    state = state_of(context)
    state.output.done("Scheduled.", state.client.resend_webhook_delivery(endpoint, delivery))


@replay.command("notification")
def replay_notification(context: typer.Context, notification: str) -> None:
    """Send an e-mail or push message again."""
    state = state_of(context)
    sent = state.client.resend_notification(notification)
    state.output.done(f"{sent.channel}: {sent.state}", sent)


@jobs.command("list")
def list_jobs(context: typer.Context) -> None:
    """List the periodic jobs with their latest success and failed periods."""
    state = state_of(context)
    columns = columns_of("kind", "last_slot", "last_success_at", "attempts", "failed_slots", "last_error")
    state.output.items(state.client.list_jobs().jobs, columns)


@jobs.command("run-again")
def run_job_again(context: typer.Context, kind: str, slot: str) -> None:
    """Run a failed period again; a worker starts it within a minute."""
    state = state_of(context)
    state.client.run_job_again(kind, models.JobSlot(slot=slot))
    state.output.done(f"{kind} {slot} starts within a minute.")


@events.command()
def tail(
    context: typer.Context,
    after: Annotated[str, typer.Option(help="Position to continue after; 0 for all, latest for new ones.")] = "latest",
    event_type: Annotated[list[str] | None, typer.Option("--type", help="Only these; repeat it.")] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for new events.")] = True,
    every: Annotated[float, typer.Option(help="Seconds between two questions.")] = 1.0,
) -> None:
    """Print events as they happen, one in each line. Without --after, from now on."""
    state = state_of(context)
    types = list(event_type or ())
    for event in state.client.events(after=after, types=types, every=every if follow else None):
        shown = msgspec.to_builtins(event)
        text = "  ".join(str(shown[name]) for name in ("position", "time", "type", "subject", "data"))
        state.output.line(shown, text)


@requests.command("list")
def list_requests(
    context: typer.Context,
    key: Annotated[str, typer.Option(help="Key of events, such as the id of an order.")] = "",
    person: Annotated[str, typer.Option(help="Id of a person.")] = "",
) -> None:
    """List the requests that caused events of an object or about a person, newest first."""
    state = state_of(context)
    found = state.client.list_traced_requests(key=key or None, user_id=person or None, limit=100)
    state.output.items(found, columns_of("first_event_at", "request_id", "event_types"))


@requests.command("show")
def show_request(
    context: typer.Context,
    request: Annotated[str, typer.Argument(help="The X-Request-Id of the request.")],
) -> None:
    """Show the events that a request has caused, and the state of each handler."""
    state = state_of(context)
    trace = state.client.get_request_trace(request)
    if state.output.as_json:
        state.output.done("", trace)
        return
    for event in trace.events:
        published = event.published_at or ("quarantined" if event.quarantined_at else "not published")
        state.output.line(event, f"{event.type}  by {event.task}  recorded {event.recorded_at}  published {published}")
        for handler in event.handlers:
            reason = f"  {handler.reason}" if handler.reason else ""
            state.output.line(handler, f"  {handler.handler}: {handler.state}  {handler.at or ''}{reason}")


@audit.command("list")
def list_audit(
    context: typer.Context,
    actor: Annotated[str, typer.Option(help="user:<id> or client:<id>")] = "",
    subject: Annotated[str, typer.Option(help="Id of a person, an order, a course …")] = "",
    kind: Annotated[str, typer.Option(help="change or read")] = "",
    days: Annotated[int, typer.Option(help="Of the last days.")] = 30,
) -> None:
    """List what staff changed and read, newest first."""
    state = state_of(context)
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    found = state.client.list_audit_entries(
        actor=actor or None,
        subject_id=subject or None,
        kind=kind or None,  # type: ignore[arg-type]
        since=since,
        limit=100,
    )
    columns: list[Column] = [
        *columns_of("done_at", "actor", "kind", "command"),
        ("subject", lambda each: [f"{name}={value}" for name, value in each.subject.items()]),
        ("changes", lambda each: [row.table for row in each.changes]),
    ]
    state.output.items(found, columns)
