"""Pages of rows that every service stores for itself, ordered by service."""

from typing import Any

import settings
from api.fanout import Call, gather
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
