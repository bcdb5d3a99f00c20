"""The ledger: every movement of money in append-only double entry. A mistake is corrected by a reversing transaction.

A debit is positive, a credit negative, and each transaction sums to zero per currency. The database enforces both: it
rejects an unbalanced transaction at commit and any update or deletion of an entry.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

import msgspec
from sqlalchemy import ForeignKey, Index, func, select, text, tuple_
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, relationship

from core.db import Base, new_id

from .disputes import Dispute
from .payment_attempts import PaymentAttempt
from .refunds import Refund, RefundStatus

Kind = Literal[
    "capture",
    "refund",
    "refund_reversed",  # the buyer's bank sent the refund back: the provider holds the money again
    "dispute",  # the buyer's bank has withheld the money
    "dispute_changed",  # the bank has withheld more, or returned a part
    "dispute_won",  # the buyer's bank has returned it
    "review_resolved",  # an operator has decided about money in suspense
]

SALES = "sales"
REFUNDS = "refunds"
DISPUTES = "disputes"
REFUNDS_PAYABLE = "owed_to_buyers"  # money of duplicate payments, to be refunded
SUSPENSE = "suspense"  # money in review, until an operator decides

# The account for the money of a payment that does not pay its order, by the status of the payment.
_ACCOUNT_BY_STATUS = {"duplicate": REFUNDS_PAYABLE, "review": SUSPENSE}
_MAX_ACCOUNTS = 10_000


class LedgerTransaction(Base):
    """One movement of money; ``source_id`` is an attempt, a refund or a dispute.

    Each kind is booked once per source, except that the amount of a dispute may change repeatedly.
    """

    __tablename__ = "ledger_transactions"
    __table_args__ = (
        Index(
            "ux_ledger_transactions_source",
            "source_id",
            "kind",
            unique=True,
            postgresql_where=text("kind <> 'dispute_changed'"),
        ),
        {"schema": "payments"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[Kind]
    source_id: Mapped[UUID]
    order_id: Mapped[UUID]
    recorded_at: Mapped[datetime]

    entries: Mapped[list["LedgerEntry"]] = relationship(lazy="raise", back_populates="transaction")


class LedgerEntry(Base):
    __tablename__ = "ledger_entries"
    __table_args__ = ({"schema": "payments"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    transaction_id: Mapped[UUID] = mapped_column(ForeignKey("payments.ledger_transactions.id"))
    account: Mapped[str]
    amount_minor: Mapped[int]  # debits positive, credits negative
    currency: Mapped[str]

    transaction: Mapped[LedgerTransaction] = relationship(lazy="raise", back_populates="entries")

    @classmethod
    def list_page(
        cls, session: Session, *, order_id: UUID | None, account: str | None, limit: int, after: UUID | None
    ) -> list[Self]:
        """List entries with their transactions, newest first. ``after`` is the last id of the previous page."""
        entries = select(cls).options(joinedload(cls.transaction)).order_by(cls.id.desc()).limit(limit)
        if order_id:
            entries = entries.where(cls.transaction.has(order_id=order_id))
        if account:
            entries = entries.where(cls.account == account)
        if after:
            entries = entries.where(cls.id < after)
        return list(session.scalars(entries))

    def to_response(self) -> dict[str, Any]:
        """Return the representation as an item of GET /v1/ledger/entries."""
        return {
            "id": self.id,
            "transaction_id": self.transaction_id,
            "kind": self.transaction.kind,
            "order_id": self.transaction.order_id,
            "source_id": self.transaction.source_id,
            "account": self.account,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "recorded_at": self.transaction.recorded_at,
        }


class Balance(msgspec.Struct):
    """The balance of an account in one currency; an item of GET /v1/ledger/accounts."""

    account: str
    currency: str
    balance_minor: int


def book_capture(session: Session, attempt: PaymentAttempt, *, at: datetime) -> None:
    """Book the captured amount of an attempt. Call it in the transaction that records the capture."""
    sides = {_provider_account(attempt): 1, _sales_account(attempt): -1}
    _post(session, attempt, "capture", attempt.id, sides, amount_minor=attempt.captured_minor, at=at)


def book_resolution(session: Session, attempt: PaymentAttempt, *, at: datetime) -> None:
    """Move a payment out of suspense after an operator's decision.

    Its capture, refunds and disputes end up in the accounts where the new status would have booked them at first.
    """
    disputed_minor = attempt.disputed_minor + attempt.charged_back_minor
    moved: dict[str, int] = defaultdict(int)
    moved[SUSPENSE] += attempt.captured_minor - attempt.refunded_minor - disputed_minor
    moved[_sales_account(attempt)] -= attempt.captured_minor
    moved[_refunds_account(attempt)] += attempt.refunded_minor
    moved[_disputes_account(attempt)] += disputed_minor
    _post(session, attempt, "review_resolved", attempt.id, moved, amount_minor=1, at=at)


def book_refund(
    session: Session, attempt: PaymentAttempt, refund: Refund, *, previous_status: RefundStatus, at: datetime
) -> None:
    """Book a refund that has succeeded, or its reversal by the buyer's bank; ``previous_status`` is its status
    before.
    """
    sides = {_refunds_account(attempt): 1, _provider_account(attempt): -1}
    if refund.status == "succeeded":
        _post(session, attempt, "refund", refund.id, sides, amount_minor=refund.amount_minor, at=at)
    elif previous_status == "succeeded":
        _post(session, attempt, "refund_reversed", refund.id, sides, amount_minor=-refund.amount_minor, at=at)


def book_dispute(
    session: Session, attempt: PaymentAttempt, dispute: Dispute, *, taken_before_minor: int, at: datetime
) -> None:
    """Book the money that the bank has withheld or returned since its amount was ``taken_before_minor``.

    The provider's fees for disputes and payments are not in this ledger.
    """
    sides = {_disputes_account(attempt): 1, _provider_account(attempt): -1}
    change_minor = dispute.taken_minor - taken_before_minor
    kind: Kind = "dispute_changed"
    if not taken_before_minor:
        kind = "dispute"
    elif not dispute.taken_minor:
        kind = "dispute_won"
    _post(session, attempt, kind, dispute.id, sides, amount_minor=change_minor, at=at)


def balances(session: Session, *, limit: int, after: tuple[str, str] | None = None) -> list[Balance]:
    """Return the balances, sorted by account and currency. ``after`` is the last such pair of the previous page."""
    place = (LedgerEntry.account, LedgerEntry.currency)
    sums = select(*place, func.sum(LedgerEntry.amount_minor)).group_by(*place).order_by(*place).limit(limit)
    if after:
        sums = sums.where(tuple_(*place) > after)
    return [Balance(account, currency, int(total)) for account, currency, total in session.execute(sums)]


def imbalances(session: Session) -> Iterator[str]:
    """Yield a description of each imbalance, for the job that checks invariants.

    The database enforces that entries sum to zero, but not that the ledger agrees with the counters of the attempts.
    """
    currency, total = LedgerEntry.currency, func.sum(LedgerEntry.amount_minor)
    for each, off in session.execute(select(currency, total).group_by(currency).having(total != 0)):
        yield f"the ledger entries sum to {off} {each}, not to zero"
    booked = {
        (balance.account, balance.currency): balance.balance_minor
        for balance in balances(session, limit=_MAX_ACCOUNTS)
        if balance.account.startswith("provider.") or balance.account == SUSPENSE
    }
    counted = _expected_balances(session)
    for name in sorted(booked.keys() | counted.keys()):
        if booked.get(name, 0) != counted.get(name, 0):
            yield f"{' '.join(name)}: {booked.get(name, 0)} are booked, {counted.get(name, 0)} counted"


def _expected_balances(session: Session) -> dict[tuple[str, str], int]:
    """Return the balances of the provider accounts and of suspense that the counters of the attempts imply."""
    currency = PaymentAttempt.money_currency
    held = func.sum(_remaining_minor())
    by_account = select(PaymentAttempt.provider, PaymentAttempt.account, currency, held).group_by(
        PaymentAttempt.provider, PaymentAttempt.account, currency
    )
    counted = {
        (f"provider.{provider}.{account}", code): int(total)
        for provider, account, code, total in session.execute(by_account)
    }
    in_review = select(currency, held).where(PaymentAttempt.status == "review").group_by(currency)
    return counted | {(SUSPENSE, code): -int(total) for code, total in session.execute(in_review)}


def _remaining_minor() -> Any:
    """Return the SQL expression for the part of a captured amount that was not refunded, disputed or charged back."""
    away = PaymentAttempt.refunded_minor + PaymentAttempt.disputed_minor + PaymentAttempt.charged_back_minor
    return PaymentAttempt.captured_minor - away


def _provider_account(attempt: PaymentAttempt) -> str:
    """Return the ledger account of the money that the provider holds for the seller."""
    return f"provider.{attempt.provider}.{attempt.account}"


def _sales_account(attempt: PaymentAttempt) -> str:
    return _ACCOUNT_BY_STATUS.get(attempt.status, SALES)


def _refunds_account(attempt: PaymentAttempt) -> str:
    return _ACCOUNT_BY_STATUS.get(attempt.status, REFUNDS)


def _disputes_account(attempt: PaymentAttempt) -> str:
    return _ACCOUNT_BY_STATUS.get(attempt.status, DISPUTES)


def _post(
    session: Session,
    attempt: PaymentAttempt,
    kind: Kind,
    source_id: UUID,
    sides: Mapping[str, int],
    *,
    amount_minor: int,
    at: datetime,
) -> None:
    """Add a transaction with ``amount_minor`` times the weight of each account; zero entries are left out."""
    entries = [
        LedgerEntry(id=new_id(), account=account, amount_minor=weight * amount_minor, currency=attempt.money_currency)
        for account, weight in sides.items()
        if weight * amount_minor
    ]
    if not entries:
        return
    transaction = LedgerTransaction(
        id=new_id(), kind=kind, source_id=source_id, order_id=attempt.order_id, recorded_at=at, entries=entries
    )
    session.add(transaction)
