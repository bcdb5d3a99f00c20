"""Reconciliation: compare a day's movements of money at a provider with the ledger's entries for the same objects."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self
from uuid import UUID

from sqlalchemy import UniqueConstraint, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.bus.jobs import period_start
from core.db import Base, new_id

from .disputes import Dispute
from .ledger import LedgerEntry, LedgerTransaction
from .payment_attempts import PaymentAttempt
from .refunds import Refund

Kind = Literal["capture", "refund", "dispute"]

DAY = timedelta(days=1)
_DAY_SECONDS = 86400
# Movements from the end of a day have reached the ledger after this time.
SETTLEMENT_DELAY = timedelta(hours=1)
COMPARED_DAYS = 30  # days that were missed are compared up to this age
# The newest days are compared again each night, so that late changes at the provider are found.
RECHECKED_DAYS = 3
# A day with differences is compared again, and counted by ``Reconciliation.count_mismatched``, up to this age.
MISMATCH_RECHECK_WINDOW = timedelta(days=7)
_KIND_BY_LEDGER_KIND: dict[str, Kind] = {
    "capture": "capture",
    "refund": "refund",
    "refund_reversed": "refund",
    "dispute": "dispute",
    "dispute_changed": "dispute",
    "dispute_won": "dispute",
}
_MAX_LISTED = 100  # objects listed in ``differing``


@dataclass(frozen=True, kw_only=True)
class ProviderTransaction:
    """A payment, refund or dispute as the provider lists it."""

    kind: Kind
    object_id: str  # the provider's id of the payment, refund or dispute
    payment_id: str
    attempt_id: UUID | None  # from our metadata; None: possibly of another system that uses the same account
    # Captured, refunded or taken by the bank, always positive; 0: nothing moved, or the money came back.
    amount_minor: int
    currency: str


@dataclass(frozen=True, kw_only=True)
class ComparedTransaction:
    """A movement with the amount that the ledger has for it; the two may be equal."""

    transaction: ProviderTransaction
    ledger_minor: int

    @property
    def differs(self) -> bool:
        return self.transaction.amount_minor != self.ledger_minor


class Reconciliation(Base):
    """The report of one day at one provider account, for one kind of movement in one currency."""

    __tablename__ = "reconciliations"
    __table_args__ = (UniqueConstraint("provider", "account", "since", "kind", "currency"), {"schema": "payments"})

    id: Mapped[UUID] = mapped_column(primary_key=True)
    provider: Mapped[str]
    account: Mapped[str]
    since: Mapped[datetime]  # the objects were created at the provider from since, inclusive, to until, exclusive
    until: Mapped[datetime]
    kind: Mapped[Kind]
    currency: Mapped[str]
    provider_minor: Mapped[int]
    ledger_minor: Mapped[int]
    differing: Mapped[list[dict[str, Any]]]  # [{"object_id", "provider_minor", "ledger_minor"}]
    compared_at: Mapped[datetime]

    @classmethod
    def compare(
        cls,
        session: Session,
        transactions: Iterable[ProviderTransaction],
        *,
        provider: str,
        account: str,
        since: datetime,
        at: datetime,
        unlisted: Iterable[ProviderTransaction] = (),
    ) -> list[ComparedTransaction]:
        """Compare the provider's list of a day with the ledger, store the reports and return the differences.

        ``unlisted`` are movements that the ledger has for the day but the provider's list has not; each was fetched
        from the provider by its id. Most were created on another day, so they are reported only if they differ.
        """
        compared = list(_match_with_ledger(session, list(transactions), provider, account))
        unlisted_compared = _match_with_ledger(session, list(unlisted), provider, account)
        compared += [each for each in unlisted_compared if each.differs]
        # A difference may have been the only row of its kind and currency: without it, no row replaces its report.
        of_day = (cls.provider == provider) & (cls.account == account) & (cls.since == since)
        agreeing = {"provider_minor": 0, "ledger_minor": 0, "differing": [], "compared_at": at}
        session.execute(update(cls).where(of_day).values(agreeing))
        sums: dict[tuple[Kind, str], list[ComparedTransaction]] = defaultdict(list)
        for each in compared:
            sums[each.transaction.kind, each.transaction.currency].append(each)
        for (kind, currency), rows in sums.items():
            differing = [row for row in rows if row.differs]
            report = {
                "provider_minor": sum(row.transaction.amount_minor for row in rows),
                "ledger_minor": sum(row.ledger_minor for row in rows),
                "differing": [_row(each) for each in differing[:_MAX_LISTED]],
                "compared_at": at,
            }
            key = {"provider": provider, "account": account, "since": since, "kind": kind, "currency": currency}
            kept = insert(cls).values({"id": new_id(), "until": since + DAY, **key, **report})
            session.execute(kept.on_conflict_do_update(index_elements=list(key), set_=report))
        differences = [each for each in compared if each.differs]
        ReconciledDay.store(session, provider, account, since=since, differing=len(differences), at=at)
        return differences

    @classmethod
    def count_mismatched(cls, session: Session) -> int:
        """Count the reports of the last MISMATCH_RECHECK_WINDOW that contain differences."""
        recent = cls.since > func.now() - MISMATCH_RECHECK_WINDOW
        return session.scalar(select(func.count()).where(cls.differing != [], recent)) or 0

    @classmethod
    def list_page(cls, session: Session, *, limit: int, after: UUID | None) -> list[Self]:
        """List reports, newest first. ``after`` is the last id of the previous page."""
        reports = select(cls).order_by(cls.id.desc()).limit(limit)
        return list(session.scalars(reports.where(cls.id < after) if after else reports))

    def to_response(self) -> dict[str, Any]:
        """Return the representation as an item of GET /v1/reconciliation/reports."""
        return {
            "id": self.id,
            "provider": self.provider,
            "account": self.account,
            "since": self.since,
            "until": self.until,
            "kind": self.kind,
            "currency": self.currency,
            "provider_minor": self.provider_minor,
            "ledger_minor": self.ledger_minor,
            "differing": self.differing,
            "compared_at": self.compared_at,
        }


class ReconciledDay(Base):
    """Records that a day was compared with a provider account, also if the provider listed nothing."""

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
        """Store the time of the comparison and the number of differing movements."""
        outcome = {"compared_at": at, "differing": differing}
        day = insert(cls).values(provider=provider, account=account, since=since, **outcome)
        key = ["provider", "account", "since"]
        session.execute(day.on_conflict_do_update(index_elements=key, set_=outcome))

    @classmethod
    def due(cls, session: Session, provider: str, account: str, *, at: datetime) -> list[datetime]:
        """Return the start of each day that must be compared now, newest first.

        These are the days of the last COMPARED_DAYS that were never compared and, once per night, the last
        RECHECKED_DAYS and the days of the last MISMATCH_RECHECK_WINDOW with differences.
        """
        last = last_settled_day(at)
        of_account = (cls.provider == provider) & (cls.account == account)
        rows = session.scalars(select(cls).where(of_account, cls.since > last - COMPARED_DAYS * DAY))
        compared = {row.since: row for row in rows}
        days = [last - n * DAY for n in range(COMPARED_DAYS)]
        return [since for since in days if since not in compared or compared[since].is_due_again(last, at)]

    def is_due_again(self, last: datetime, at: datetime) -> bool:
        """Whether this compared day must be compared again; ``last`` is the start of the newest settled day."""
        if self.compared_at >= period_start(at, _DAY_SECONDS):
            return False
        is_recent = self.since > last - RECHECKED_DAYS * DAY
        return is_recent or (self.differing > 0 and self.since > at - MISMATCH_RECHECK_WINDOW)

    @classmethod
    def count_missing(cls, session: Session, configured: Iterable[tuple[str, str]], *, at: datetime) -> int:
        """Count the days of the last COMPARED_DAYS without a comparison, summed over the provider accounts.

        ``configured`` are the provider accounts in use: (provider, account). Other accounts are left out if no day of
        this time was compared.
        """
        last = last_settled_day(at)
        in_window = (cls.since > last - COMPARED_DAYS * DAY) & (cls.since <= last)
        counts = select(cls.provider, cls.account, func.count()).where(in_window).group_by(cls.provider, cls.account)
        compared = dict.fromkeys(configured, 0)
        compared |= {(provider, account): count for provider, account, count in session.execute(counts)}
        return sum(max(COMPARED_DAYS - count, 0) for count in compared.values())


def last_settled_day(at: datetime) -> datetime:
    """Return the start of the last settled day. A day lasts from 23:00 to 23:00 UTC and is settled at midnight."""
    return period_start(at, _DAY_SECONDS) - DAY - SETTLEMENT_DELAY


def booked_between(
    session: Session, provider: str, account: str, since: datetime, until: datetime
) -> list[ProviderTransaction]:
    """Return the payments, refunds and disputes of a provider account that the ledger recorded in this time.

    Their amounts are 0, because only the provider can say what moved at its side.
    """
    recorded = (LedgerTransaction.recorded_at >= since) & (LedgerTransaction.recorded_at < until)
    of_account = (PaymentAttempt.provider == provider) & (PaymentAttempt.account == account)
    columns = LedgerTransaction.kind, PaymentAttempt.id, PaymentAttempt.payment_id, PaymentAttempt.money_currency
    captures = select(*columns, PaymentAttempt.payment_id).join(
        PaymentAttempt, PaymentAttempt.id == LedgerTransaction.source_id
    )
    found = list(session.execute(captures.where(recorded, of_account, LedgerTransaction.kind == "capture")))
    for model in (Refund, Dispute):
        sources = select(*columns, model.object_id).join(model, model.id == LedgerTransaction.source_id)
        found += session.execute(
            sources.join(PaymentAttempt, PaymentAttempt.id == model.attempt_id).where(recorded, of_account)
        )
    return [
        ProviderTransaction(
            kind=_KIND_BY_LEDGER_KIND[kind],
            object_id=object_id or "",
            payment_id=payment_id or "",
            attempt_id=attempt_id,
            amount_minor=0,
            currency=currency,
        )
        for kind, attempt_id, payment_id, currency, object_id in found
    ]


def _row(each: ComparedTransaction) -> dict[str, Any]:
    transaction = each.transaction
    return {
        "object_id": transaction.object_id,
        "provider_minor": transaction.amount_minor,
        "ledger_minor": each.ledger_minor,
    }


def _match_with_ledger(
    session: Session, transactions: list[ProviderTransaction], provider: str, account: str
) -> Iterable[ComparedTransaction]:
    """Pair each of our movements with the ledger's amount; skip those of other systems on the same account."""
    of_account = (PaymentAttempt.provider == provider) & (PaymentAttempt.account == account)
    named = {each.payment_id for each in transactions}
    attempt_ids = {each.attempt_id for each in transactions if each.attempt_id}
    ours = session.execute(
        select(PaymentAttempt.id, PaymentAttempt.payment_id).where(
            of_account, PaymentAttempt.payment_id.in_(named) | PaymentAttempt.id.in_(attempt_ids)
        )
    ).all()
    by_payment = {payment_id: attempt_id for attempt_id, payment_id in ours if payment_id}
    known = {attempt_id for attempt_id, _ in ours}
    refunds = _ids_by_object(session, Refund, of_account, transactions, "refund")
    disputes = _ids_by_object(session, Dispute, of_account, transactions, "dispute")
    provider_account = f"provider.{provider}.{account}"
    captured = _ledger_amounts(session, provider_account, ("capture",), known)
    away = _ledger_amounts(session, provider_account, ("refund", "refund_reversed"), set(refunds.values()))
    away |= _ledger_amounts(
        session, provider_account, ("dispute", "dispute_changed", "dispute_won"), set(disputes.values())
    )
    for each in transactions:
        attempt_id = by_payment.get(each.payment_id, each.attempt_id)
        if each.kind == "capture":
            if attempt_id:
                yield ComparedTransaction(transaction=each, ledger_minor=captured.get(attempt_id, 0))
            continue
        source_id = (refunds if each.kind == "refund" else disputes).get(each.object_id)
        if attempt_id or source_id:
            yield ComparedTransaction(transaction=each, ledger_minor=-away.get(source_id, 0) if source_id else 0)


def _ids_by_object(
    session: Session,
    model: type[Refund] | type[Dispute],
    of_account: Any,
    transactions: list[ProviderTransaction],
    kind: Kind,
) -> dict[str, UUID]:
    """Return our ids of the refunds or disputes among the movements, by the provider's id."""
    objects = {each.object_id for each in transactions if each.kind == kind}
    ours = select(model.object_id, model.id).join(PaymentAttempt, PaymentAttempt.id == model.attempt_id)
    found = session.execute(ours.where(of_account, model.object_id.in_(objects)))
    return {object_id: id_ for object_id, id_ in found if object_id}


def _ledger_amounts(session: Session, account: str, kinds: tuple[str, ...], sources: set[UUID]) -> dict[UUID, int]:
    """Return the sum of the ledger entries in ``account`` by source id, debits positive."""
    total = func.sum(LedgerEntry.amount_minor)
    entries = select(LedgerTransaction.source_id, total).join(LedgerEntry.transaction)
    mine = entries.where(
        LedgerTransaction.kind.in_(kinds), LedgerTransaction.source_id.in_(sources), LedgerEntry.account == account
    )
    return {source: int(amount) for source, amount in session.execute(mine.group_by(LedgerTransaction.source_id))}
