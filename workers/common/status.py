"""Tasks behind the HTTP API for operators: the jobs of a service, what waits in it and what has failed."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.bus import jobs
from core.bus.dead_letters import DeadLetter
from core.bus.outbox import OutboxEvent
from core.db import utc_now
from models.errors import NotFound
from workers.runtime.tasks import per_service_task


@per_service_task
def list_jobs(session: Session, *, service: str) -> list[dict[str, Any]]:
    """Return the state of each kind of job of the service."""
    return [asdict(state) for state in jobs.states(session) if state.kind.startswith(f"{service}.")]


@per_service_task
def run_job_again(session: Session, *, kind: str, slot: datetime) -> None:
    """Reopen a run of a job that failed for good. Raises NotFound."""
    if not jobs.reopen(session, kind, slot):
        raise NotFound("failed run", f"{kind} {slot.isoformat()}")


@per_service_task
def show_status(session: Session, *, service: str) -> dict[str, Any]:
    """Return what waits and what has failed in the service, and the clock of its database."""
    of_service = OutboxEvent.aggregatetype == service
    unpublished = (of_service, OutboxEvent.published_at.is_(None), OutboxEvent.failed_at.is_(None))
    waiting, oldest_at = session.execute(
        select(func.count(), func.min(OutboxEvent.created_at)).where(*unpublished)
    ).one()
    dead_letters = select(func.count()).where(
        DeadLetter.status == "open", DeadLetter.handler.startswith(f"{service}.", autoescape=True)
    )
    states = [state for state in jobs.states(session) if state.kind.startswith(f"{service}.")]
    return {
        "unpublished_events": waiting,
        "oldest_unpublished_at": oldest_at,
        "quarantined_events": session.scalar(
            select(func.count()).where(of_service, OutboxEvent.failed_at.is_not(None))
        ),
        "dead_letters": session.scalar(dead_letters),
        "failed_jobs": [state.kind for state in states if state.failed_slots],
        "worker_clock": utc_now(),
        "database_clock": session.scalar(select(func.clock_timestamp())),
    }
