"""``coursebus doctor``: reaches the API? token valid? permissions? queues, events, dead letters, jobs, clocks."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import httpx
import msgspec
import typer

from coursebus import errors, models

from ._failures import ExitCode, explain
from ._login import seconds_left
from ._state import State, state_of

_QUEUE_SECONDS = 10.0  # a message that waits longer: the workers are behind
_OUTBOX_SECONDS = 60.0  # an event that waits longer: the bridge is behind
_CLOCK_SECONDS = 5.0
_TOKEN_SECONDS = 300.0


class Check(msgspec.Struct):
    """One result. ``next`` says what to do unless it is fine."""

    name: str
    state: Literal["ok", "warning", "problem"]
    found: str
    next: str = ""


def doctor(context: typer.Context) -> None:
    """Check the connection, your token, queues, events, dead letters, jobs and clocks; say what to do next.

    Ends with 1 if there is a problem.
    """
    state = state_of(context)
    checks = []
    for check in _checks(state):
        checks.append(check)
        if not state.output.as_json:
            mark = {"ok": "ok", "warning": "WARNING", "problem": "PROBLEM"}[check.state]
            state.output.line(check, f"{mark:<8} {check.name}: {check.found}")
            if check.next:
                state.output.line(check, f"         Next: {check.next}")
    if state.output.as_json:
        state.output.item({"checks": checks}, {})
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(ExitCode.FAILED)


def _checks(state: State) -> Iterator[Check]:
    reached, answered_at = _check_api(state)
    yield reached
    if answered_at is None:
        return
    token = state.settings.token
    if token is None:
        yield Check("token", "problem", "there is none", "coursebus login, or set COURSEBUS_TOKEN")
        return
    yield _check_expiry(token)
    try:
        profile = state.client.get_profile()
    except errors.CoursebusError as error:
        shown, _ = explain(error)
        yield Check("sign-in", "problem", str(shown["detail"]), str(shown["next"]))
        return
    yield Check("sign-in", "ok", f"{profile.email}, roles {', '.join(profile.roles) or 'none'}")
    yield Check("permissions", "ok", ", ".join(profile.permissions) or "none: a learner's")
    if "ops:admin" not in profile.permissions:
        yield Check("services", "warning", "not checked", "Their status needs the permission ops:admin.")
        return
    try:
        status = state.client.get_status()
    except errors.CoursebusError as error:
        shown, _ = explain(error)
        yield Check("services", "problem", str(shown["detail"]), str(shown["next"]))
        return
    yield from check_status(status, local=datetime.now(UTC))


def _check_api(state: State) -> tuple[Check, datetime | None]:
    url = state.settings.url
    try:
        answer = httpx.get(f"{url}/readyz", timeout=10)
        servers = answer.json()["servers"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        found = f"{url} does not answer as Coursebus does: {error or type(error).__name__}"
        return Check("API", "problem", found, "Check COURSEBUS_URL; locally, start it: make run"), None
    down = sorted(name for name, is_up in servers.items() if is_up != "up")
    if down:
        next_step = f"Start or repair {', '.join(down)}; the runbooks in ops/runbooks describe how."
        return Check("API", "problem", f"{url} answers, but not {', '.join(down)}", next_step), datetime.now(UTC)
    return Check("API", "ok", f"{url} answers, and all its servers"), datetime.now(UTC)


def _check_expiry(token: str) -> Check:
    left = seconds_left(token)
    if left is None:
        return Check("token", "warning", "it does not say until when it is valid")
    if left <= 0:
        return Check("token", "problem", "it has expired", "coursebus login")
    if left < _TOKEN_SECONDS:
        return Check("token", "warning", f"it expires in {left:.0f} s", "coursebus login")
    return Check("token", "ok", f"valid for {left / 3600:.1f} h")


def check_status(status: models.Status, *, local: datetime) -> Iterator[Check]:
    """Yield what the status of the services says; ``local`` is the clock of this machine when it arrived."""
    gateway = _time(status.gateway_clock)
    yield _clock("clock of this machine", abs((gateway - local).total_seconds()), "Synchronise this machine's clock.")
    for service in status.services:
        yield from _check_service(service, gateway)


def _check_service(service: models.ServiceStatus, gateway: datetime) -> Iterator[Check]:
    name = service.service
    waits = f"{service.queued_messages} messages wait, the oldest for {service.oldest_message_seconds:.0f} s"
    if not service.responds:
        yield Check(name, "problem", f"no worker answers; {waits}", f"Start or restart the {name} worker.")
        return
    if service.oldest_message_seconds > _QUEUE_SECONDS:
        yield Check(f"{name} queue", "problem", waits, f"Start more {name} workers, or see what slows them down.")
    if service.oldest_unpublished_at is not None:
        age = (gateway - _time(service.oldest_unpublished_at)).total_seconds()
        if age > _OUTBOX_SECONDS:
            found = f"{service.unpublished_events} are not published, the oldest for {age:.0f} s"
            yield Check(f"{name} events", "problem", found, "Is the bridge running, and Kafka? python -m bridge lag")
    if service.quarantined_events:
        found = f"{service.quarantined_events} are refused by Kafka, or wait behind one"
        yield Check(f"{name} quarantine", "problem", found, "Correct the cause, then POST …/release.")
    if service.dead_letters:
        yield Check(
            f"{name} dead letters", "problem", f"{service.dead_letters} are open", "coursebus dead-letters list"
        )
    if service.failed_jobs:
        yield Check(f"{name} jobs", "problem", f"failed: {', '.join(service.failed_jobs)}", "coursebus jobs list")
    clocks = [_time(each) for each in (service.worker_clock, service.database_clock) if each]
    skew = max((abs((each - gateway).total_seconds()) for each in clocks), default=0.0)
    if skew > _CLOCK_SECONDS:
        yield _clock(f"{name} clocks", skew, "Synchronise the clocks of workers and databases (NTP).")
    yield Check(name, "ok", f"answers; {waits}")


def _clock(name: str, skew: float, next_step: str) -> Check:
    if skew > _CLOCK_SECONDS:
        return Check(name, "problem", f"{skew:.0f} s beside the gateway's", next_step)
    return Check(name, "ok", "as the gateway's")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
