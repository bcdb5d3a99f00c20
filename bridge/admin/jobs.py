"""Operators' actions on jobs: list their state, and retry a slot that was given up."""

from collections.abc import Iterator
from datetime import datetime

import settings
from core.bus import jobs
from core.bus.jobs import JobState
from core.db import session_factory


class SlotNotGivenUp(Exception):
    """``args[0]`` names a slot that does not exist, is finished, or is still being retried."""


def iter_job_states() -> Iterator[JobState]:
    """Yield the state of every kind of job, by service."""
    # Services may share a database: read each database once.
    for service in {settings.database_url(service): service for service in settings.SERVICES}.values():
        with session_factory(service).begin() as session:
            states = jobs.states(session)
        yield from states


def run_again(kind: str, slot: datetime) -> None:
    """Reopen a slot that was given up; a worker runs it within a minute. Raises SlotNotGivenUp."""
    service = kind.partition(".")[0]
    if service in settings.SERVICES:
        with session_factory(service).begin() as session:
            if jobs.reopen(session, kind, slot):
                return
    raise SlotNotGivenUp(f"{kind} {slot.isoformat()}")
