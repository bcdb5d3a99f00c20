"""Work that time starts. The row decides, beat only pokes: any number of beats is safe, a lost poke is made good."""

import random
from datetime import UTC, datetime, timedelta
from typing import Self

from sqlalchemy import Index, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from .base import Base, now

MAX_ATTEMPTS = 5  # then it is poison, and left to people
LEASE = timedelta(minutes=2)  # above the longest job; a killed one is taken up after it


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

    def finish(self) -> None:
        self.finished_at = now()
        self.leased_until = None

    def fail(self, error: str) -> None:
        """Try again after 2, 4, 8 … seconds, give or take a quarter, so that many do not come back at once."""
        self.leased_until = None
        self.last_error = error
        self.run_after = now() + timedelta(seconds=2**self.attempts * random.uniform(0.75, 1.25))


def slot_of(moment: datetime, every_seconds: int) -> datetime:
    """The start of the period of ``every_seconds`` that holds ``moment``, counted from 1970."""
    return datetime.fromtimestamp(moment.timestamp() // every_seconds * every_seconds, UTC)
