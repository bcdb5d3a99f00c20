"""Periodic jobs, stored as one row per run.

Celery beat only sends hints, the rows decide what runs: several beat processes do no harm, and a hint may be lost.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, Index, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from core.db import Base, utc_now

MAX_ATTEMPTS = 5  # then the run has failed for good, until an operator reopens it
LEASE = timedelta(minutes=2)  # renewed while the job runs; when it expires, another worker takes the run over


class JobRun(Base):
    """One run of a job. ``slot`` is the start of the period that the run is for."""

    __tablename__ = "jobs"

    kind: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[datetime] = mapped_column(primary_key=True)
    attempts: Mapped[int] = mapped_column(default=0)  # those that count: a postponed one does not
    claims: Mapped[int] = mapped_column(default=0)  # never reset, so it identifies the latest claim
    leased_until: Mapped[datetime | None]
    run_after: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    last_error: Mapped[str | None]

    __table_args__ = (
        Index("ix_jobs_open", "kind", "slot", postgresql_where=text("finished_at IS NULL")),
        {"schema": "bus"},
    )

    @classmethod
    def claim(cls, session: Session, kind: str, slot: datetime) -> Self | None:
        """Lease the oldest due run of ``kind`` and count the attempt; return None if no run is due or free.

        Creates the run of ``slot`` if it does not exist. Commit immediately, so that an attempt that kills its process
        is counted.
        """
        new_run = insert(cls).values(kind=kind, slot=slot, attempts=0, claims=0, run_after=slot)
        session.execute(new_run.on_conflict_do_nothing())
        due = (
            select(cls)
            .where(
                cls.kind == kind,
                cls.finished_at.is_(None),
                cls.attempts < MAX_ATTEMPTS,
                cls.run_after <= utc_now(),
                or_(cls.leased_until.is_(None), cls.leased_until < utc_now()),
            )
            .order_by(cls.slot)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        run = session.scalars(due).one_or_none()
        if run:
            run.attempts += 1
            run.claims += 1
            run.leased_until = utc_now() + LEASE
        return run

    def renew(self, session: Session) -> None:
        """Extend the lease of this attempt."""
        self._change(session, leased_until=utc_now() + LEASE)

    def finish(self, session: Session) -> None:
        """Record that this attempt has finished the run."""
        self._change(session, finished_at=utc_now(), leased_until=None)

    def fail(self, session: Session, error: str) -> None:
        """Schedule the next attempt after 2, 4, 8 … seconds; ±25 % jitter spreads the load of many retries."""
        wait = timedelta(seconds=2**self.attempts * random.uniform(0.75, 1.25))
        self._change(session, leased_until=None, last_error=error, run_after=utc_now() + wait)

    def postpone(self, session: Session, error: str) -> None:
        """Schedule the next attempt in about a minute without counting this one: its error is transient."""
        wait = timedelta(seconds=60 * random.uniform(0.75, 1.25))
        self._change(
            session, leased_until=None, last_error=error, run_after=utc_now() + wait, attempts=max(self.attempts - 1, 0)
        )

    def _change(self, session: Session, **values: Any) -> None:
        # Match the claim: an attempt whose lease has expired must not change the claim of the next one. Do not match
        # ``attempts``: a number that was not counted is used again.
        this_claim = (JobRun.kind == self.kind, JobRun.slot == self.slot, JobRun.claims == self.claims)
        session.execute(update(JobRun).where(*this_claim, JobRun.finished_at.is_(None)).values(**values))


@dataclass(frozen=True, kw_only=True)
class JobState:
    """The state of one kind of job."""

    kind: str
    last_slot: datetime
    last_success_at: datetime | None
    attempts: int  # of the oldest run that has not finished
    failed_slots: list[datetime]  # the slots of runs that failed for good, oldest first
    last_error: str | None


def has_failed_permanently() -> ColumnElement[bool]:
    """Return the condition for runs that have used up their attempts, the last of which has ended."""
    ended = or_(JobRun.leased_until.is_(None), JobRun.leased_until < utc_now())
    return and_(JobRun.finished_at.is_(None), JobRun.attempts >= MAX_ATTEMPTS, ended)


# Reads one row per kind by the primary key.
_LAST_SUCCESSES = text("""
    SELECT kind, (
        SELECT finished_at FROM bus.jobs WHERE jobs.kind = kinds.kind AND finished_at IS NOT NULL
        ORDER BY slot DESC LIMIT 1
    )
    FROM unnest(CAST(:kinds AS text[])) AS kinds (kind)""")


def last_successes(session: Session, kinds: Sequence[str]) -> dict[str, datetime | None]:
    """Return when each of ``kinds`` last finished a run; None if it never has."""
    return dict(session.execute(_LAST_SUCCESSES, {"kinds": list(kinds)}).all())


def count_failed_runs(session: Session, kinds: Sequence[str], *, count_every_slot: Sequence[str]) -> dict[str, int]:
    """Return how many runs of each of ``kinds`` have failed for good.

    A failed run does not count if a later run has succeeded, except for the kinds in ``every_slot_counts``.
    """
    later = aliased(JobRun)
    succeeded = (
        select(1).where(later.kind == JobRun.kind, later.slot > JobRun.slot, later.finished_at.is_not(None)).exists()
    )
    counted = (
        select(JobRun.kind, func.count())
        .where(JobRun.kind.in_(kinds), has_failed_permanently(), or_(JobRun.kind.in_(count_every_slot), ~succeeded))
        .group_by(JobRun.kind)
    )
    found = dict(session.execute(counted).all())
    return {kind: found.get(kind, 0) for kind in kinds}


def states(session: Session) -> list[JobState]:
    """Return the state of every kind of job in this database."""
    kinds = dict(
        session.execute(select(JobRun.kind, func.max(JobRun.slot)).group_by(JobRun.kind).order_by(JobRun.kind)).all()
    )
    successes = last_successes(session, list(kinds))
    found: dict[str, list[JobRun]] = {kind: [] for kind in kinds}
    for run in session.scalars(select(JobRun).where(JobRun.finished_at.is_(None)).order_by(JobRun.slot)):
        found[run.kind].append(run)
    failed = {(run.kind, run.slot) for run in session.scalars(select(JobRun).where(has_failed_permanently()))}
    return [
        JobState(
            kind=kind,
            last_slot=last_slot,
            last_success_at=successes[kind],
            attempts=found[kind][0].attempts if found[kind] else 0,
            failed_slots=[run.slot for run in found[kind] if (kind, run.slot) in failed],
            last_error=next((run.last_error for run in reversed(found[kind]) if run.last_error), None),
        )
        for kind, last_slot in kinds.items()
    ]


def reopen(session: Session, kind: str, slot: datetime) -> bool:
    """Reset the attempts of a run that failed for good; return False if there is no such run."""
    reset = update(JobRun).where(JobRun.kind == kind, JobRun.slot == slot, has_failed_permanently())
    changed = session.execute(reset.values(attempts=0, run_after=utc_now(), leased_until=None))
    return bool(changed.rowcount)  # type: ignore[attr-defined]  # the result of an update has it


def period_start(moment: datetime, every_seconds: int) -> datetime:
    """Return the start of the period that contains ``moment``; periods of ``every_seconds`` count from 1970."""
    return datetime.fromtimestamp(moment.timestamp() // every_seconds * every_seconds, UTC)
