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
from models.jobs import slot_of

from .attempts import Attempt
from .disputes import Dispute
from .ledger import LedgerEntry, LedgerTransaction
from .refunds import Refund

Kind = Literal["capture", "refund", "dispute"]

DAY = timedelta(days=1)
_DAY_SECONDS = 86400
# What is on its way at the end of a day has arrived by then.
SETTLES_WITHIN = timedelta(hours=1)
COMPARED_DAYS = 30  # so far back a day that was missed is compared
# A day is compared again each night for some days: what changed late differs then.
RECHECKED_DAYS = 3
# So long a day that does not agree is compared again, and counted.
LOOKED_AFTER_FOR = timedelta(days=7)
_BOOKED_AS: dict[str, Kind] = {
    "capture": "capture",
    "refund": "refund",
    "refund_returned": "refund",
    "dispute": "dispute",
    "dispute_won": "dispute",
}
_NAMED_AT_MOST = 100  # of what differs


@dataclass(frozen=True, kw_only=True)
class Movement:
    """A payment, refund or dispute as its provider lists it."""

    kind: Kind
    object_id: str  # of the payment, the refund or the dispute
    payment_id: str
    attempt_id: UUID | None  # as our metadata says; None: it may be somebody else's, on the same account
    amount_minor: int  # that has moved: to us, or away with a refund or dispute; 0: it has not, or has come back
    currency: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A movement of which our ledger says another thing."""

    movement: Movement
    ours_minor: int

    @property
    def differs(self) -> bool:
        return self.movement.amount_minor != self.ours_minor


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
        unlisted: Iterable[Movement] = (),
    ) -> list[Difference]:
        """Compare what a provider lists of a day with the ledger, and store the outcome; return what differs.

        ``unlisted`` are movements that the ledger has of the day and the provider has not, as the provider knows them
        one by one. Most were made on another day: they are reported only where they differ.
        """
        compared = list(_beside_ours(session, list(movements), provider, account))
        beside = _beside_ours(session, list(unlisted), provider, account)
        compared += [each for each in beside if each.differs]
        sums: dict[tuple[Kind, str], list[Difference]] = defaultdict(list)
        for each in compared:
            sums[each.movement.kind, each.movement.currency].append(each)
        for (kind, currency), rows in sums.items():
            differing = [row for row in rows if row.differs]
            report = {
                "theirs_minor": sum(row.movement.amount_minor for row in rows),
                "ours_minor": sum(row.ours_minor for row in rows),
                "differing": [_row(each) for each in differing[:_NAMED_AT_MOST]],
                "compared_at": at,
            }
            key = {"provider": provider, "account": account, "since": since, "kind": kind, "currency": currency}
            kept = insert(cls).values({"id": new_id(), "until": since + DAY, **key, **report})
            session.execute(kept.on_conflict_do_update(index_elements=list(key), set_=report))
        differences = [each for each in compared if each.differs]
        ReconciledDay.store(session, provider, account, since=since, differing=len(differences), at=at)
        return differences

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


class ReconciledDay(Base):
    """A day that was compared with a provider, whether or not anything was listed of it."""

    __tablename__ = "reconciled_days"
    __table_args__ = ({"schema": "payments"},)

    provider: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(primary_key=True)
    compared_at: Mapped[datetime]
    differing: Mapped[int]

    @classmethod
    def store(
        cls, session: Session, provider: str, account: str, *, since: datetime, differing: int, at: datetime
    ) -> None:
        """Store that the day was compared, and how many movements differed."""
        outcome = {"compared_at": at, "differing": differing}
        day = insert(cls).values(provider=provider, account=account, since=since, **outcome)
        key = ["provider", "account", "since"]
        session.execute(day.on_conflict_do_update(index_elements=key, set_=outcome))

    @classmethod
    def due(cls, session: Session, provider: str, account: str, *, at: datetime) -> list[datetime]:
        """Return the begin of each day that is to be compared now, newest first.

        Due are days of the last COMPARED_DAYS that were not compared yet. Once a night also the last RECHECKED_DAYS,
        and each day of LOOKED_AFTER_FOR that did not agree.
        """
        last = last_settled_day(at)
        of_account = (cls.provider == provider) & (cls.account == account)
        rows = session.scalars(select(cls).where(of_account, cls.since > last - COMPARED_DAYS * DAY))
        compared = {row.since: row for row in rows}
        days = [last - n * DAY for n in range(COMPARED_DAYS)]
        return [since for since in days if since not in compared or compared[since].is_due_again(last, at)]

    def is_due_again(self, last: datetime, at: datetime) -> bool:
        """Whether the day, once compared, is to be compared again; ``last`` is the newest day."""
        if self.compared_at >= slot_of(at, _DAY_SECONDS):
            return False
        is_recent = self.since > last - RECHECKED_DAYS * DAY
        return is_recent or (self.differing > 0 and self.since > at - LOOKED_AFTER_FOR)

    @classmethod
    def missing(cls, session: Session, *, at: datetime) -> int:
        """Count the days of the last COMPARED_DAYS that were compared at no provider account that was in use then."""
        last = last_settled_day(at)
        in_window = (cls.since > last - COMPARED_DAYS * DAY) & (cls.since <= last)
        compared = select(func.count()).where(in_window).group_by(cls.provider, cls.account)
        return sum(max(COMPARED_DAYS - count, 0) for count in session.scalars(compared))


def last_settled_day(at: datetime) -> datetime:
    """Return the begin of the last day whose movements have arrived: from 23:00 to 23:00, compared from midnight on."""
    return slot_of(at, _DAY_SECONDS) - DAY - SETTLES_WITHIN


def booked_between(session: Session, provider: str, account: str, since: datetime, until: datetime) -> list[Movement]:
    """Return what the ledger has recorded in this time of a provider's payments, refunds and disputes.

    The amounts are 0: what has moved of each is the provider's to say.
    """
    recorded = (LedgerTransaction.recorded_at >= since) & (LedgerTransaction.recorded_at < until)
    of_account = (Attempt.provider == provider) & (Attempt.account == account)
    columns = LedgerTransaction.kind, Attempt.id, Attempt.payment_id, Attempt.currency
    captures = select(*columns, Attempt.payment_id).join(Attempt, Attempt.id == LedgerTransaction.source_id)
    found = list(session.execute(captures.where(recorded, of_account, LedgerTransaction.kind == "capture")))
    for model in (Refund, Dispute):
        sources = select(*columns, model.object_id).join(model, model.id == LedgerTransaction.source_id)
        found += session.execute(sources.join(Attempt, Attempt.id == model.attempt_id).where(recorded, of_account))
    return [
        Movement(
            kind=_BOOKED_AS[kind],
            object_id=object_id or "",
            payment_id=payment_id or "",
            attempt_id=attempt_id,
            amount_minor=0,
            currency=currency,
        )
        for kind, attempt_id, payment_id, currency, object_id in found
    ]


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
    refunds = _ids_by_object(session, Refund, of_account, movements, "refund")
    disputes = _ids_by_object(session, Dispute, of_account, movements, "dispute")
    held = f"provider.{provider}.{account}"
    captured = _booked(session, held, ("capture",), known)
    away = _booked(session, held, ("refund", "refund_returned"), set(refunds.values()))
    away |= _booked(session, held, ("dispute", "dispute_won"), set(disputes.values()))
    for each in movements:
        attempt_id = by_payment.get(each.payment_id, each.attempt_id)
        if each.kind == "capture":
            if attempt_id:
                yield Difference(movement=each, ours_minor=captured.get(attempt_id, 0))
            continue
        source_id = (refunds if each.kind == "refund" else disputes).get(each.object_id)
        if attempt_id or source_id:
            yield Difference(movement=each, ours_minor=-away.get(source_id, 0) if source_id else 0)


def _ids_by_object(
    session: Session, model: type[Refund] | type[Dispute], of_account: Any, movements: list[Movement], kind: Kind
) -> dict[str, UUID]:
    """Return our id of each refund or dispute among the movements, by the provider's."""
    objects = {each.object_id for each in movements if each.kind == kind}
    ours = select(model.object_id, model.id).join(Attempt, Attempt.id == model.attempt_id)
    found = session.execute(ours.where(of_account, model.object_id.in_(objects)))
    return {object_id: id_ for object_id, id_ in found if object_id}


def _booked(session: Session, account: str, kinds: tuple[str, ...], sources: set[UUID]) -> dict[UUID, int]:
    """What the ledger has moved in ``account`` for each source."""
    total = func.sum(LedgerEntry.amount_minor)
    entries = select(LedgerTransaction.source_id, total).join(LedgerEntry.transaction)
    mine = entries.where(
        LedgerTransaction.kind.in_(kinds), LedgerTransaction.source_id.in_(sources), LedgerEntry.account == account
    )
    return {source: int(amount) for source, amount in session.execute(mine.group_by(LedgerTransaction.source_id))}
