"""Pages of rows that every service stores for itself, ordered by service or by time."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import settings
from api.fanout import Call, gather, gather_all
from core.commands import ServiceCommand
from models.commands import ListDeadLetters, ListQuarantined


def list_across_services(
    command: type[ListDeadLetters | ListQuarantined], *, after: tuple[str, int] | None, limit: int, **filters: Any
) -> tuple[list[dict[str, Any]], bool]:
    """Return up to ``limit`` rows after the cursor, and whether they are the last ones.

    Sends ``command`` to all services at once. Raises the failure of a service whose rows belong on the page.
    """
    first, seq = after or (settings.SERVICES[0], 0)
    calls = {
        service: Call(
            command(service=service, limit=limit + 1, after=seq if service == first else 0, **filters),
            list[dict[str, Any]],
        )
        for service in settings.SERVICES[settings.SERVICES.index(first) :]
    }
    found, failures = gather(calls, timeout_seconds=settings.READ_TIMEOUT_SECONDS)
    items: list[dict[str, Any]] = []
    for service in calls:
        if len(items) > limit:
            break
        if failure := failures.get(service):
            raise failure
        items += found[service]
    return items[:limit], len(items) <= limit


def list_newest_of_all_services(
    command: Callable[..., ServiceCommand], /, *, after: str | None, limit: int, **filters: Any
) -> dict[str, Any]:
    """Return a page, newest first, of rows of all services: {"items", "next"}. Raises the first failure.

    The ids of the rows are UUIDv7, which are ordered by time, also as text.
    """
    before = UUID(after) if after else None
    calls = {
        service: Call(command(service=service, limit=limit + 1, before=before, **filters), list[dict[str, Any]])
        for service in settings.SERVICES
    }
    pages = gather_all(calls, timeout_seconds=settings.READ_TIMEOUT_SECONDS)
    rows = sorted((row for page in pages.values() for row in page), key=_uuid_of, reverse=True)
    return {"items": rows[:limit], "next": _uuid_of(rows[limit - 1]) if len(rows) > limit else None}


def _uuid_of(row: dict[str, Any]) -> str:
    """Return the UUID in the id of a row, which may start with the name of its service."""
    return str(row["id"])[-36:]
