"""Work that time starts. The row decides and beat only sends hints: any number of beats is safe, a hint may be lost."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, Index, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from .base import Base, now

MAX_ATTEMPTS = 5  # then the slot is given up and left to people
LEASE = timedelta(minutes=2)  # renewed while the job runs; the slot of a killed worker is taken over after it


class Job(Base):
    """One run of one kind of job: ``slot`` is the start of the period that it serves."""

    __tablename__ = "jobs"

    kind: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[datetime] = mapped_column(primary_key=True)
    attempts: Mapped[int] = mapped_column(default=0)
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
        """Take the oldest run of ``kind`` that is due, counting the attempt; None when another has it or all is done.

        Commit at once: an attempt that kills its process has then been counted.
        """
        fresh = insert(cls).values(kind=kind, slot=slot, attempts=0, run_after=slot).on_conflict_do_nothing()
        session.execute(fresh)
        due = (
            select(cls)
            .where(
                cls.kind == kind,
                cls.finished_at.is_(None),
                cls.attempts < MAX_ATTEMPTS,
                cls.run_after <= now(),
                or_(cls.leased_until.is_(None), cls.leased_until < now()),
            )
            .order_by(cls.slot)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        run = session.scalars(due).one_or_none()
        if run:
            run.attempts += 1
            run.leased_until = now() + LEASE
        return run

    def renew(self, session: Session) -> None:
        """Extend the lease of this attempt."""
        self._change(session, leased_until=now() + LEASE)

    def finish(self, session: Session) -> None:
        """Keep that this attempt has done the work of the slot."""
        self._change(session, finished_at=now(), leased_until=None)

    def fail(self, session: Session, error: str) -> None:
        """Try again after 2, 4, 8 … seconds, give or take a quarter, so that many do not come back at once."""
        wait = timedelta(seconds=2**self.attempts * random.uniform(0.75, 1.25))
        self._change(session, leased_until=None, last_error=error, run_after=now() + wait)

    def postpone(self, session: Session, error: str) -> None:
        """Try again in about a minute, without counting the attempt: only time removes the cause."""
        wait = timedelta(seconds=60 * random.uniform(0.75, 1.25))
        self._change(
            session, leased_until=None, last_error=error, run_after=now() + wait, attempts=max(self.attempts - 1, 0)
        )

    def _change(self, session: Session, **values: Any) -> None:
        # By the number of the attempt: a run whose lease has ended must not touch the claim of the next one.
        mine = (Job.kind == self.kind, Job.slot == self.slot, Job.attempts == self.attempts)
        session.execute(update(Job).where(*mine, Job.finished_at.is_(None)).values(**values))


@dataclass(frozen=True, kw_only=True)
class JobState:
    """What the table says of one kind of job."""

    kind: str
    last_slot: datetime
    last_success_at: datetime | None
    attempts: int  # of the oldest slot that is not finished
    given_up: list[datetime]  # the slots, oldest first
    last_error: str | None


def is_given_up() -> ColumnElement[bool]:
    """Whether a slot has failed as often as it may; its last attempt may still be running."""
    ended = or_(Job.leased_until.is_(None), Job.leased_until < now())
    return and_(Job.finished_at.is_(None), Job.attempts >= MAX_ATTEMPTS, ended)


# By the primary key, one row a kind.
_LAST_SUCCESSES = text("""
    SELECT kind, (
        SELECT finished_at FROM bus.jobs WHERE jobs.kind = kinds.kind AND finished_at IS NOT NULL
        ORDER BY slot DESC LIMIT 1
    )
    FROM unnest(CAST(:kinds AS text[])) AS kinds (kind)""")


def last_successes(session: Session, kinds: Sequence[str]) -> dict[str, datetime | None]:
    """When each of ``kinds`` last finished a slot; None where it never has."""
    return dict(session.execute(_LAST_SUCCESSES, {"kinds": list(kinds)}).all())


def count_given_up(session: Session, kinds: Sequence[str], *, every_slot_counts: Sequence[str]) -> dict[str, int]:
    """How many slots of each of ``kinds`` were given up.

    A later success makes up for a slot, except of the kinds whose every slot counts.
    """
    later = aliased(Job)
    made_up = select(1).where(later.kind == Job.kind, later.slot > Job.slot, later.finished_at.is_not(None)).exists()
    counted = (
        select(Job.kind, func.count())
        .where(Job.kind.in_(kinds), is_given_up(), or_(Job.kind.in_(every_slot_counts), ~made_up))
        .group_by(Job.kind)
    )
    found = dict(session.execute(counted).all())
    return {kind: found.get(kind, 0) for kind in kinds}


def states(session: Session) -> list[JobState]:
    """The state of every kind of job in this database."""
    kinds = dict(session.execute(select(Job.kind, func.max(Job.slot)).group_by(Job.kind).order_by(Job.kind)).all())
    successes = last_successes(session, list(kinds))
    found: dict[str, list[Job]] = {kind: [] for kind in kinds}
    for run in session.scalars(select(Job).where(Job.finished_at.is_(None)).order_by(Job.slot)):
        found[run.kind].append(run)
    gone = {(run.kind, run.slot) for run in session.scalars(select(Job).where(is_given_up()))}
    return [
        JobState(
            kind=kind,
            last_slot=last_slot,
            last_success_at=successes[kind],
            attempts=found[kind][0].attempts if found[kind] else 0,
            given_up=[run.slot for run in found[kind] if (kind, run.slot) in gone],
            last_error=next((run.last_error for run in reversed(found[kind]) if run.last_error), None),
        )
        for kind, last_slot in kinds.items()
    ]


def reopen(session: Session, kind: str, slot: datetime) -> bool:
    """Have a slot that was given up run again; False where there is no such slot."""
    again = update(Job).where(Job.kind == kind, Job.slot == slot, is_given_up())
    changed = session.execute(again.values(attempts=0, run_after=now(), leased_until=None))
    return bool(changed.rowcount)  # type: ignore[attr-defined]  # the result of an update has it


def slot_of(moment: datetime, every_seconds: int) -> datetime:
    """The start of the period of ``every_seconds`` that holds ``moment``, counted from 1970."""
    return datetime.fromtimestamp(moment.timestamp() // every_seconds * every_seconds, UTC)
