"""What a provider says that it has moved for us in a day, beside what our ledger says of the same objects."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self
from uuid import UUID

from sqlalchemy import UniqueConstraint, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, new_id

from .attempts import Attempt
from .ledger import LedgerEntry, LedgerTransaction
from .refunds import Refund

Kind = Literal["capture", "refund"]

DAY = timedelta(days=1)
# So long a day that does not agree is compared again, and counted.
LOOKED_AFTER_FOR = timedelta(days=7)
_NAMED_AT_MOST = 100  # of what differs


@dataclass(frozen=True, kw_only=True)
class Movement:
    """A payment or refund as its provider lists it."""

    kind: Kind
    object_id: str  # of the payment, or of the refund
    payment_id: str
    attempt_id: UUID | None  # as our metadata says; None: it may be somebody else's, on the same account
    amount_minor: int  # that has moved; 0: it has not, or has come back
    currency: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A movement of which our ledger says another thing."""

    movement: Movement
    ours_minor: int


class Reconciliation(Base):
    """A day's comparison at one provider, of one kind of movement in one currency."""

    __tablename__ = "reconciliations"
    __table_args__ = (UniqueConstraint("provider", "account", "since", "kind", "currency"), {"schema": "payments"})

    id: Mapped[UUID] = mapped_column(primary_key=True)
    provider: Mapped[str]
    account: Mapped[str]
    since: Mapped[datetime]  # when what is compared was made at the provider
    until: Mapped[datetime]
    kind: Mapped[Kind]
    currency: Mapped[str]
    theirs_minor: Mapped[int]
    ours_minor: Mapped[int]
    differing: Mapped[list[dict[str, Any]]]  # [{"object_id", "theirs_minor", "ours_minor"}]
    compared_at: Mapped[datetime]

    @classmethod
    def compare(
        cls,
        session: Session,
        movements: Iterable[Movement],
        *,
        provider: str,
        account: str,
        since: datetime,
        at: datetime,
    ) -> list[Difference]:
        """Compare what a provider lists of a day with the ledger, and keep what came of it; returns what differs."""
        compared = list(_beside_ours(session, list(movements), provider, account))
        sums: dict[tuple[Kind, str], list[Difference]] = defaultdict(list)
        for each in compared:
            sums[each.movement.kind, each.movement.currency].append(each)
        for (kind, currency), rows in sums.items():
            differing = [row for row in rows if row.movement.amount_minor != row.ours_minor]
            report = {
                "theirs_minor": sum(row.movement.amount_minor for row in rows),
                "ours_minor": sum(row.ours_minor for row in rows),
                "differing": [_row(each) for each in differing[:_NAMED_AT_MOST]],
                "compared_at": at,
            }
            key = {"provider": provider, "account": account, "since": since, "kind": kind, "currency": currency}
            kept = insert(cls).values({"id": new_id(), "until": since + DAY, **key, **report})
            session.execute(kept.on_conflict_do_update(index_elements=list(key), set_=report))
        return [each for each in compared if each.movement.amount_minor != each.ours_minor]

    @classmethod
    def off_since(cls, session: Session, provider: str, account: str, *, at: datetime) -> list[datetime]:
        """The begin of each day that did not agree when it was compared last, the oldest first."""
        theirs = (cls.provider == provider) & (cls.account == account)
        recent = select(cls.since).where(theirs, cls.differing != [], cls.since > at - LOOKED_AFTER_FOR)
        return list(session.scalars(recent.distinct().order_by(cls.since)))

    @classmethod
    def off(cls, session: Session) -> int:
        """How many reports of the last days do not agree."""
        recent = cls.since > func.now() - LOOKED_AFTER_FOR
        return session.scalar(select(func.count()).where(cls.differing != [], recent)) or 0

    @classmethod
    def page(cls, session: Session, *, limit: int, after: UUID | None) -> list[Self]:
        """Reports, the newest first. ``after`` is the last one of the page before."""
        reports = select(cls).order_by(cls.id.desc()).limit(limit)
        return list(session.scalars(reports.where(cls.id < after) if after else reports))

    def view(self) -> dict[str, Any]:
        """As an item of GET /v1/reconciliation/reports."""
        return {
            "id": self.id,
            "provider": self.provider,
            "account": self.account,
            "since": self.since,
            "until": self.until,
            "kind": self.kind,
            "currency": self.currency,
            "theirs_minor": self.theirs_minor,
            "ours_minor": self.ours_minor,
            "differing": self.differing,
            "compared_at": self.compared_at,
        }


def _row(each: Difference) -> dict[str, Any]:
    moved = each.movement
    return {"object_id": moved.object_id, "theirs_minor": moved.amount_minor, "ours_minor": each.ours_minor}


def _beside_ours(session: Session, movements: list[Movement], provider: str, account: str) -> Iterable[Difference]:
    """Each movement that is ours, with what the ledger says of it. Another system's on the same account is left out."""
    of_account = (Attempt.provider == provider) & (Attempt.account == account)
    named = {each.payment_id for each in movements}
    told = {each.attempt_id for each in movements if each.attempt_id}
    ours = session.execute(
        select(Attempt.id, Attempt.payment_id).where(of_account, Attempt.payment_id.in_(named) | Attempt.id.in_(told))
    ).all()
    by_payment = {payment_id: attempt_id for attempt_id, payment_id in ours if payment_id}
    known = {attempt_id for attempt_id, _ in ours}
    refunds = select(Refund.id, Refund.object_id).join(Attempt, Attempt.id == Refund.attempt_id)
    objects = {each.object_id for each in movements if each.kind == "refund"}
    by_object = {
        object_id: refund_id
        for refund_id, object_id in session.execute(refunds.where(of_account, Refund.object_id.in_(objects)))
    }
    held = f"provider.{provider}.{account}"
    captured = _booked(session, held, ("capture",), known)
    returned = _booked(session, held, ("refund", "refund_returned"), set(by_object.values()))
    for each in movements:
        attempt_id = by_payment.get(each.payment_id, each.attempt_id)
        if each.kind == "capture" and attempt_id:
            yield Difference(movement=each, ours_minor=captured.get(attempt_id, 0))
        elif each.kind == "refund" and (attempt_id or each.object_id in by_object):
            refund_id = by_object.get(each.object_id)
            yield Difference(movement=each, ours_minor=-returned.get(refund_id, 0) if refund_id else 0)


def _booked(session: Session, account: str, kinds: tuple[str, ...], sources: set[UUID]) -> dict[UUID, int]:
    """What the ledger has moved in ``account`` for each source."""
    total = func.sum(LedgerEntry.amount_minor)
    entries = select(LedgerTransaction.source_id, total).join(LedgerEntry.transaction)
    mine = entries.where(
        LedgerTransaction.kind.in_(kinds), LedgerTransaction.source_id.in_(sources), LedgerEntry.account == account
    )
    return {source: int(amount) for source, amount in session.execute(mine.group_by(LedgerTransaction.source_id))}
