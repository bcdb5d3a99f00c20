"""What the providers' webhooks said, kept before they are thanked: each once, each a hint to ask the provider."""

from datetime import datetime, timedelta
from typing import Literal, Self
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, new_id

# By then the hint that follows the webhook has done its work, or was lost.
_SWEPT_AFTER = timedelta(seconds=15)
_SWEPT_AT_LEAST_EVERY = timedelta(hours=1)
MAX_CRASHES = 12
_PROBLEM_MAX_LENGTH = 500
_FIRST_PULL = timedelta(days=3)
_LISTED_FOR = timedelta(days=30)  # Stripe keeps its events so long


class ProviderEvent(Base):
    """A webhook without its body: what it told of is fetched, and buyers' addresses stay with the provider."""

    __tablename__ = "provider_events"
    __table_args__ = (
        UniqueConstraint("provider", "account", "dedupe_key"),
        Index("ix_provider_events_due", "due_at", postgresql_where=text("status = 'received'")),
        {"schema": "payments"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    provider: Mapped[str]
    account: Mapped[str]
    dedupe_key: Mapped[str]
    type: Mapped[str]
    object_id: Mapped[str]
    # ignored: it belongs to no attempt of ours; failed: applying it crashed MAX_CRASHES times
    status: Mapped[Literal["received", "applied", "ignored", "failed"]]
    sweeps: Mapped[int]
    crashes: Mapped[int]
    problem: Mapped[str | None]  # of the last crash
    due_at: Mapped[datetime]
    received_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    @classmethod
    def keep(
        cls, session: Session, *, provider: str, account: str, dedupe_key: str, kind: str, object_id: str, at: datetime
    ) -> UUID | None:
        """Store the event; returns its id, None where it is here already and somebody is at it.

        One that was looked at and not borne out (the notice came early, or was forged) is looked at again at once.
        So is a failed one: the provider's "resend" is how an operator starts it again.
        """
        row = {
            "id": new_id(),
            "provider": provider,
            "account": account,
            "dedupe_key": dedupe_key,
            "type": kind,
            "object_id": object_id,
            "status": "received",
            "sweeps": 0,
            "crashes": 0,
            "due_at": at + _SWEPT_AFTER,
            "received_at": at,
        }
        waits = ((cls.status == "received") & (cls.sweeps > 0)) | (cls.status == "failed")
        told = (
            insert(cls)
            .values(row)
            .on_conflict_do_update(
                index_elements=["provider", "account", "dedupe_key"],
                set_={"status": "received", "sweeps": 0, "crashes": 0, "finished_at": None, "due_at": row["due_at"]},
                where=waits,
            )
        )
        return session.scalars(told.returning(cls.id)).one_or_none()

    @classmethod
    def unknown(cls, session: Session, provider: str, account: str, dedupe_keys: list[str]) -> set[str]:
        """Return those of ``dedupe_keys`` that are not stored."""
        of_account = (cls.provider == provider) & (cls.account == account)
        known = select(cls.dedupe_key).where(of_account, cls.dedupe_key.in_(dedupe_keys))
        return set(dedupe_keys) - set(session.scalars(known))

    @classmethod
    def due(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Events that nobody has applied yet though they should have, locked; another's are left to them."""
        due = select(cls).where(cls.status == "received", cls.due_at <= at).order_by(cls.due_at).limit(limit)
        return list(session.scalars(due.with_for_update(skip_locked=True)))

    def postpone(self, *, at: datetime) -> None:
        """Look again after 30 s, 1, 2, 4 … minutes, at least every hour: an event is never given up."""
        self.sweeps += 1
        self.due_at = at + min(_SWEPT_AFTER * 2 ** min(self.sweeps, 10), _SWEPT_AT_LEAST_EVERY)

    def count_crash(self, problem: str, *, at: datetime) -> None:
        """Look again later; after MAX_CRASHES, which takes some five hours, the event has failed."""
        self.crashes += 1
        self.problem = problem[:_PROBLEM_MAX_LENGTH]
        if self.crashes < MAX_CRASHES:
            self.due_at = at + min(_SWEPT_AFTER * 2**self.crashes, _SWEPT_AT_LEAST_EVERY)
        else:
            self.status = "failed"
            self.finished_at = at

    def finish(self, status: Literal["applied", "ignored"], *, at: datetime) -> None:
        self.status = status
        self.finished_at = at


class ProviderPull(Base):
    """The time until which everything that a provider lists has been stored."""

    __tablename__ = "provider_pulls"
    __table_args__ = ({"schema": "payments"},)

    provider: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    pulled_until: Mapped[datetime]

    @classmethod
    def since(cls, session: Session, provider: str, account: str, *, at: datetime) -> datetime:
        """Return the time from which to pull: the end of the last pull, or some days back where there was none."""
        last = session.get(cls, (provider, account), populate_existing=True)
        return max(last.pulled_until, at - _LISTED_FOR) if last else at - _FIRST_PULL

    @classmethod
    def finish(cls, session: Session, provider: str, account: str, *, until: datetime) -> None:
        """Store that everything until then was pulled. Two pulls at once keep the later time."""
        pull = insert(cls).values(provider=provider, account=account, pulled_until=until)
        latest = func.greatest(cls.pulled_until, pull.excluded.pulled_until)
        session.execute(
            pull.on_conflict_do_update(index_elements=["provider", "account"], set_={"pulled_until": latest})
        )
