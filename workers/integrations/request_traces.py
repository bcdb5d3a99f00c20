"""Request traces for operators: from a request to the events that it caused and to their handlers."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.errors import NotFound
from models.integrations import request_traces
from workers import task


@task
def show_request_trace(session: Session, *, request_id: str) -> dict[str, Any]:
    """Return the events that a request has caused, with the state of each handler. Raises NotFound."""
    trace = request_traces.trace_of(session, request_id)
    if trace is None:
        raise NotFound("request with events", request_id)
    return trace


@task
def list_traced_requests(
    session: Session, *, key: str | None, user_id: UUID | None, limit: int, after: int | None
) -> dict[str, Any]:
    """Return a page of the requests that caused events of a key or about a user: {"items", "next"}."""
    found, last_seq = request_traces.list_requests(session, key=key, user_id=user_id, limit=limit, before=after)
    return {"items": found, "next": last_seq}
