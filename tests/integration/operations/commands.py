"""Asynchronous commands as the gateway sends them, with ``create_course`` as the example."""

from typing import Any
from uuid import UUID, uuid4

from tests.integration.courses.factories import fields
from tests.support.databases import Database
from tests.support.deliveries import deliver

OWNER = "auth0|ann"


def accept(kind: str = "courses.create_course", **changes: Any) -> UUID:
    """Accept a command as an operation; return its UUID without the prefix of the service."""
    operation = {"kind": kind, "message": course_message(), "owner": OWNER, "claim": None} | changes
    accepted = deliver(f"{kind.partition('.')[0]}.accept_operation", operation, claim=changes.get("claim_of_operation"))
    return UUID(accepted["result"]["id"].partition("-")[2])


def course_message(**changes: Any) -> dict[str, Any]:
    return {"instructor_id": uuid4(), "fields": fields(**changes)}


def claim(key: str = "k-1") -> dict[str, str]:
    return {"scope": f"{OWNER} POST /v1/courses", "key": key, "fingerprint": "f"}


def run(operation_id: UUID) -> None:
    deliver("courses.run_operation", {"operation_id": operation_id})


def show(operation_id: UUID, owner: str = OWNER) -> dict[str, Any]:
    return deliver("courses.show_operation", {"operation_id": operation_id, "owner": owner})


def cancel(operation_id: UUID, owner: str = OWNER) -> dict[str, Any]:
    return deliver("courses.cancel_operation", {"operation_id": operation_id, "owner": owner})


def expire_leases(database: Database) -> None:
    """Expire the lease and the waiting time of every operation."""
    database.execute("UPDATE bus.operations SET run_after = now() - interval '1 h', leased_until = NULL")
