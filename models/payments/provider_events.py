"""Webhook events of the providers, stored once before they are acknowledged.

Each event is only a hint to fetch the object from the provider. Events are also pulled from the provider's list, in
case a webhook was never delivered.
"""

from datetime import datetime, timedelta
from typing import Any, Literal, Self
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, new_id
from core.log import correlation_ids

from .payment_attempts import PaymentAttempt

# The task enqueued with the webhook has run after this time, or its message was lost: then the sweep takes the event.
_RETRY_DELAY = timedelta(seconds=15)
_MAX_RETRY_DELAY = timedelta(hours=1)
MAX_CRASHES = 12
_PROBLEM_MAX_LENGTH = 500
_LISTED_FOR = timedelta(days=30)  # Stripe lists events for this long


class ProviderEvent(Base):
    """A webhook event without its body.

    The object is fetched from the provider, so that no personal data of buyers in the body is stored.
    """

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
    # ignored: its object belongs to no attempt; failed: applying it crashed MAX_CRASHES times
    status: Mapped[Literal["received", "applied", "ignored", "failed"]]
    sweeps: Mapped[int]
    crashes: Mapped[int]
    problem: Mapped[str | None]  # the error of the last crash
    due_at: Mapped[datetime]
    received_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    headers: Mapped[dict[str, Any]]  # request_id, traceparent and causation_id of the delivery that stored it last

    @classmethod
    def upsert(
        cls, session: Session, *, provider: str, account: str, dedupe_key: str, kind: str, object_id: str, at: datetime
    ) -> UUID | None:
        """Store the event; returns its id if it must be applied now, or None if it is stored and needs no restart.

        Three kinds of stored events are reset and applied again: those that were swept but not confirmed by the
        provider's object yet (they came early or were forged), ignored ones and failed ones. An operator restarts an
        ignored or failed event by resending it in the provider's dashboard.
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
            "due_at": at + _RETRY_DELAY,
            "received_at": at,
            "headers": correlation_ids(),
        }
        return session.connection().scalar(_UPSERT, row)

    @classmethod
    def find_unknown_keys(cls, session: Session, provider: str, account: str, dedupe_keys: list[str]) -> set[str]:
        """Return those of ``dedupe_keys`` that are not stored."""
        of_account = (cls.provider == provider) & (cls.account == account)
        known = select(cls.dedupe_key).where(of_account, cls.dedupe_key.in_(dedupe_keys))
        return set(dedupe_keys) - set(session.scalars(known))

    @classmethod
    def due(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Return and lock events that are still not applied at ``due_at``. Rows locked by other workers are skipped."""
        due = select(cls).where(cls.status == "received", cls.due_at <= at).order_by(cls.due_at).limit(limit)
        return list(session.scalars(due.with_for_update(skip_locked=True)))

    def find_attempt(self, session: Session) -> PaymentAttempt | None:
        """Return the attempt whose checkout session or payment is the event's object, at any account of the provider.

        An event is stored under the account that is configured when it arrives, but it may come from an account that
        was configured before.
        """
        named = (PaymentAttempt.checkout_session_id == self.object_id) | (PaymentAttempt.payment_id == self.object_id)
        return session.scalars(
            select(PaymentAttempt).where(PaymentAttempt.provider == self.provider, named).limit(1)
        ).one_or_none()

    def postpone(self, *, at: datetime) -> None:
        """Schedule the next try with a doubled pause, from 30 seconds up to one hour.

        The number of tries is not limited: only repeated crashes make an event fail, see ``count_crash``.
        """
        self.sweeps += 1
        self.due_at = at + min(_RETRY_DELAY * 2 ** min(self.sweeps, 10), _MAX_RETRY_DELAY)

    def count_crash(self, problem: str, *, at: datetime) -> None:
        """Record a crash and schedule the next try; after MAX_CRASHES crashes, about five hours, the event fails.

        A failed event is not tried again until the provider resends it.
        """
        self.crashes += 1
        self.problem = problem[:_PROBLEM_MAX_LENGTH]
        if self.crashes < MAX_CRASHES:
            self.due_at = at + min(_RETRY_DELAY * 2**self.crashes, _MAX_RETRY_DELAY)
        else:
            self.status = "failed"
            self.finished_at = at

    def finish(self, status: Literal["applied", "ignored"], *, at: datetime) -> None:
        self.status = status
        self.finished_at = at


# Built once: building a statement takes longer than executing it.
_NEW = insert(ProviderEvent)
_UPSERT = _NEW.on_conflict_do_update(
    index_elements=["provider", "account", "dedupe_key"],
    set_={name: _NEW.excluded[name] for name in ("status", "sweeps", "crashes", "due_at", "headers", "finished_at")},
    where=((ProviderEvent.status == "received") & (ProviderEvent.sweeps > 0))
    | ProviderEvent.status.in_(("failed", "ignored")),
).returning(ProviderEvent.id)


class ProviderPull(Base):
    """The time up to which all events that a provider account lists have been stored."""

    __tablename__ = "provider_pulls"
    __table_args__ = ({"schema": "payments"},)

    provider: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    pulled_until: Mapped[datetime]

    @classmethod
    def since(cls, session: Session, provider: str, account: str, *, at: datetime) -> datetime:
        """Return the start of the next pull: the end of the last one, but at most _LISTED_FOR ago.

        The first pull starts at the first attempt at this account, because nothing of ours can have happened before.
        """
        last = session.get(cls, (provider, account), populate_existing=True)
        if last:
            return max(last.pulled_until, at - _LISTED_FOR)
        of_account = (PaymentAttempt.provider == provider) & (PaymentAttempt.account == account)
        first_attempt_at = session.scalar(select(func.min(PaymentAttempt.created_at)).where(of_account))
        return max(first_attempt_at or at, at - _LISTED_FOR)

    @classmethod
    def finish(cls, session: Session, provider: str, account: str, *, until: datetime) -> None:
        """Store the end of a pull. Of two concurrent pulls the later time is kept."""
        pull = insert(cls).values(provider=provider, account=account, pulled_until=until)
        latest = func.greatest(cls.pulled_until, pull.excluded.pulled_until)
        session.execute(
            pull.on_conflict_do_update(index_elements=["provider", "account"], set_={"pulled_until": latest})
        )
