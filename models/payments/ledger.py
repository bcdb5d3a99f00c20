"""The ledger: every movement of money in double entry. What is booked stays; a mistake is booked back.

A debit is positive, a credit negative, and each transaction sums to zero in each currency: the database refuses another
one at its commit, and any change of what is booked.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

import msgspec
from sqlalchemy import ForeignKey, UniqueConstraint, func, select, tuple_
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, relationship

from models.base import Base, new_id

from .attempts import Attempt
from .disputes import Dispute
from .refunds import Refund, RefundStatus

Kind = Literal[
    "capture",
    "refund",
    "refund_returned",  # the buyer's bank did not take it: the money is with the provider again
    "dispute",  # the buyer's bank has taken it
    "dispute_won",  # … and given it back
]

SALES = "sales"
REFUNDS = "refunds"
DISPUTES = "disputes"
OWED = "owed_to_buyers"  # money that came for an order which was paid already

_ACCOUNTS_AT_MOST = 10_000


class LedgerTransaction(Base):
    """One movement of money, booked once: ``source_id`` is the attempt or the refund that it is of."""

    __tablename__ = "ledger_transactions"
    __table_args__ = (UniqueConstraint("kind", "source_id"), {"schema": "payments"})

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
    def page(
        cls, session: Session, *, order_id: UUID | None, account: str | None, limit: int, after: UUID | None
    ) -> list[Self]:
        """Entries with their transactions, newest first."""
        entries = select(cls).options(joinedload(cls.transaction)).order_by(cls.id.desc()).limit(limit)
        if order_id:
            entries = entries.where(cls.transaction.has(order_id=order_id))
        if account:
            entries = entries.where(cls.account == account)
        if after:
            entries = entries.where(cls.id < after)
        return list(session.scalars(entries))

    def view(self) -> dict[str, Any]:
        """As an item of GET /v1/ledger/entries."""
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
    """What an account holds of a currency; an item of GET /v1/ledger/accounts."""

    account: str
    currency: str
    balance_minor: int


def book_capture(session: Session, attempt: Attempt, *, at: datetime) -> None:
    """Book what an attempt has brought, in the transaction that believes it."""
    earned = OWED if attempt.status == "duplicate" else SALES
    _book(session, attempt, "capture", attempt.id, attempt.captured_minor, debit=_held(attempt), credit=earned, at=at)


def book_refund(session: Session, attempt: Attempt, refund: Refund, *, was: RefundStatus, at: datetime) -> None:
    """Book money that went back when ``refund`` became what it is, or that the buyer's bank has returned since."""
    given_back = OWED if attempt.status == "duplicate" else REFUNDS
    amount_minor = refund.amount_minor
    if refund.status == "succeeded":
        _book(session, attempt, "refund", refund.id, amount_minor, debit=given_back, credit=_held(attempt), at=at)
    elif was == "succeeded":
        returned: Kind = "refund_returned"
        _book(session, attempt, returned, refund.id, amount_minor, debit=_held(attempt), credit=given_back, at=at)


def book_dispute(session: Session, attempt: Attempt, dispute: Dispute, *, had_taken: bool, at: datetime) -> None:
    """Book what a bank has taken when ``dispute`` became what it is, or given back. What the provider asks for its
    trouble is in its own books, as its fees for payments are.
    """
    taken_from = OWED if attempt.status == "duplicate" else DISPUTES
    amount_minor = dispute.amount_minor
    if dispute.has_taken and not had_taken:
        _book(session, attempt, "dispute", dispute.id, amount_minor, debit=taken_from, credit=_held(attempt), at=at)
    elif had_taken and not dispute.has_taken:
        _book(session, attempt, "dispute_won", dispute.id, amount_minor, debit=_held(attempt), credit=taken_from, at=at)


def balances(session: Session, *, limit: int, after: tuple[str, str] | None = None) -> list[Balance]:
    """The accounts with what they hold, in the order of their names."""
    place = (LedgerEntry.account, LedgerEntry.currency)
    sums = select(*place, func.sum(LedgerEntry.amount_minor)).group_by(*place).order_by(*place).limit(limit)
    if after:
        sums = sums.where(tuple_(*place) > after)
    return [Balance(account, currency, int(total)) for account, currency, total in session.execute(sums)]


def imbalances(session: Session) -> Iterator[str]:
    """What does not add up, in words; nothing where all is well. For the invariants' job.

    The sums are held by the database already; that the ledger and the counters of the attempts agree is not.
    """
    currency, total = LedgerEntry.currency, func.sum(LedgerEntry.amount_minor)
    for each, off in session.execute(select(currency, total).group_by(currency).having(total != 0)):
        yield f"the ledger is off by {off} {each}"
    booked = {
        (balance.account, balance.currency): balance.balance_minor
        for balance in balances(session, limit=_ACCOUNTS_AT_MOST)
        if balance.account.startswith("provider.")
    }
    place = (Attempt.provider, Attempt.account, Attempt.currency)
    held = func.sum(_kept_minor())
    counted = {
        (f"provider.{provider}.{account}", currency): int(total)
        for provider, account, currency, total in session.execute(select(*place, held).group_by(*place))
    }
    for name in sorted(booked.keys() | counted.keys()):
        if booked.get(name, 0) != counted.get(name, 0):
            yield f"{' '.join(name)}: {booked.get(name, 0)} are booked, {counted.get(name, 0)} counted"


def _kept_minor() -> Any:
    """What is left at the provider of what an attempt has brought, as its counters say."""
    away = Attempt.refunded_minor + Attempt.disputed_minor + Attempt.charged_back_minor
    return Attempt.captured_minor - away


def _held(attempt: Attempt) -> str:
    """The account of what a provider holds for us."""
    return f"provider.{attempt.provider}.{attempt.account}"


def _book(
    session: Session,
    attempt: Attempt,
    kind: Kind,
    source_id: UUID,
    amount_minor: int,
    *,
    debit: str,
    credit: str,
    at: datetime,
) -> None:
    entries = [
        LedgerEntry(id=new_id(), account=account, amount_minor=signed_minor, currency=attempt.currency)
        for account, signed_minor in ((debit, amount_minor), (credit, -amount_minor))
    ]
    transaction = LedgerTransaction(
        id=new_id(), kind=kind, source_id=source_id, order_id=attempt.order_id, recorded_at=at, entries=entries
    )
    session.add(transaction)
