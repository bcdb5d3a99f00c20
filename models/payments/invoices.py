"""Invoices of paid orders and credit notes of their refunds, numbered 1, 2, 3 … in each year without gaps.

The transaction that books a payment or a refund adds the document without a number; ``assign_numbers`` issues it
within a minute, or when it is first read. So no booking waits for the counter. A transaction that numbers locks the
counter first and then the documents; one that books locks the order first and never the counter.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal, Self
from uuid import UUID

import msgspec
from sqlalchemy import Index, UniqueConstraint, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

import settings
from core.db import PRIVATE, Base, new_id
from core.money import format_amount
from models.commands.payments import BuyerDetails

from .billing_details import BillingDetails

Kind = Literal["invoice", "credit_note"]

# For this long a buyer may add details to an invoice that has none, for example the company's tax id.
_DETAILS_MAY_BE_ADDED_FOR = timedelta(days=30)
_PREFIXES: dict[Kind, str] = {"invoice": "", "credit_note": "CN-"}


class InvoiceCounter(Base):
    """The last number of a kind and year. Its row is locked while documents are numbered."""

    __tablename__ = "invoice_counters"
    __table_args__ = ({"schema": "payments"},)

    kind: Mapped[Kind] = mapped_column(primary_key=True)
    year: Mapped[int] = mapped_column(primary_key=True)
    last_number: Mapped[int]

    @classmethod
    def get_for_update(cls, session: Session, kind: Kind, year: int) -> Self:
        """Return the counter, locked; it is created if it does not exist."""
        session.execute(insert(cls).values(kind=kind, year=year, last_number=0).on_conflict_do_nothing())
        return session.get_one(cls, (kind, year), with_for_update=True, populate_existing=True)


class Invoice(Base):
    """An invoice, or a credit note. Seller, buyer and tax are those of the day of issue."""

    __tablename__ = "invoices"
    __table_args__ = (
        UniqueConstraint("kind", "year", "number"),
        Index("ux_invoices_order", "order_id", unique=True, postgresql_where=text("kind = 'invoice'")),
        Index("ux_invoices_refund", "refund_id", unique=True),
        {"schema": "payments"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[Kind]
    order_id: Mapped[UUID]
    refund_id: Mapped[UUID | None]  # of a credit note
    user_id: Mapped[UUID]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    issued_at: Mapped[datetime]
    year: Mapped[int]
    number: Mapped[int | None]  # None: not issued yet
    seller: Mapped[dict[str, Any] | None]
    buyer: Mapped[dict[str, Any] | None] = mapped_column(info=PRIVATE)
    tax: Mapped[dict[str, Any] | None]  # None: no tax is shown
    voided_at: Mapped[datetime | None]  # of a credit note whose refund was reversed

    @classmethod
    def add(
        cls,
        session: Session,
        *,
        order_id: UUID,
        user_id: UUID,
        amount_minor: int,
        currency: str,
        refund_id: UUID | None = None,
        at: datetime,
    ) -> None:
        """Add the invoice of an order, or the credit note of a refund, without a number; once."""
        row = {
            "id": new_id(),
            "kind": "credit_note" if refund_id else "invoice",
            "order_id": order_id,
            "refund_id": refund_id,
            "user_id": user_id,
            "amount_minor": amount_minor,
            "currency": currency,
            "issued_at": at,
            "year": at.year,
        }
        session.execute(insert(cls).values(**row).on_conflict_do_nothing())

    @classmethod
    def void(cls, session: Session, refund_id: UUID, *, at: datetime) -> None:
        """Mark the credit note of a reversed refund as void. Its number stays."""
        theirs = update(cls).where(cls.refund_id == refund_id, cls.voided_at.is_(None))
        session.execute(theirs.values(voided_at=at))

    @classmethod
    def list_for_order(cls, session: Session, order_id: UUID) -> list[Self]:
        """Return the invoice and the credit notes of an order, oldest first."""
        theirs = select(cls).where(cls.order_id == order_id).order_by(cls.kind.desc(), cls.id)
        return list(session.scalars(theirs.execution_options(populate_existing=True)))

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[Self]:
        """Return all documents of a user, oldest first."""
        return list(session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.id)))

    @classmethod
    def list_unnumbered(cls, session: Session, *, limit: int) -> list[Self]:
        """Return documents without a number, the oldest first, without lock."""
        return list(session.scalars(select(cls).where(cls.number.is_(None)).order_by(cls.id).limit(limit)))

    @classmethod
    def assign_numbers(cls, session: Session, unnumbered: Iterable[Self]) -> None:
        """Issue documents that have no number: take numbers, and copy seller, buyer and tax of today."""
        by_series: dict[tuple[Kind, int], list[UUID]] = {}
        for each in unnumbered:
            by_series.setdefault((each.kind, each.year), []).append(each.id)
        for (kind, year), ids in sorted(by_series.items()):
            counter = InvoiceCounter.get_for_update(session, kind, year)
            # Read again: another transaction may have numbered them before this one got the counter.
            open_ones = select(cls).where(cls.id.in_(ids), cls.number.is_(None)).order_by(cls.id)
            for each in session.scalars(open_ones.with_for_update().execution_options(populate_existing=True)):
                counter.last_number += 1
                each.number = counter.last_number
                each.seller, each.tax = seller(), tax()
                details = BillingDetails.get(session, each.user_id).details
                each.buyer = None if details == BuyerDetails() else msgspec.to_builtins(details)
        session.flush()

    @classmethod
    def add_details(cls, session: Session, user_id: UUID, details: BuyerDetails, *, at: datetime) -> None:
        """Add the buyer's details to issued documents of the last 30 days that have none."""
        bare = update(cls).where(cls.user_id == user_id, cls.number.is_not(None), cls.buyer.is_(None))
        session.execute(
            bare.where(cls.issued_at > at - _DETAILS_MAY_BE_ADDED_FOR).values(buyer=msgspec.to_builtins(details))
        )

    @property
    def label(self) -> str:
        """Return the number as people see it: 2026-000001, CN-2026-000001 for a credit note."""
        return f"{settings.INVOICE_NUMBER_PREFIX}{_PREFIXES[self.kind]}{self.year}-{self.number:06d}"

    def money(self) -> dict[str, Any]:
        """Return the amount, and the tax that it includes."""
        included = tax_included(self.amount_minor, self.tax["rate_basis_points"]) if self.tax else 0
        return {
            "total_minor": self.amount_minor,
            "total": format_amount(self.amount_minor, self.currency),
            "tax_minor": included,
            "tax": format_amount(included, self.currency),
            "net_minor": self.amount_minor - included,
            "net": format_amount(self.amount_minor - included, self.currency),
        }

    def to_credit_note(self) -> dict[str, Any]:
        """Return the representation as an item of ``credit_notes``."""
        return {
            "number": self.label,
            "refund_id": self.refund_id,
            "issued_at": self.issued_at,
            "voided_at": self.voided_at,
            **self.money(),
        }

    def to_export(self) -> dict[str, Any]:
        """Return the representation in a data export."""
        number = self.label if self.number else None
        return {"kind": self.kind, "number": number, "issued_at": self.issued_at, "buyer": self.buyer}


def seller() -> dict[str, Any]:
    """Return the seller of invoices that are issued now."""
    return {
        "name": settings.INVOICE_SELLER_NAME,
        "address": settings.INVOICE_SELLER_ADDRESS.replace("; ", "\n").replace(";", "\n") or None,
        "tax_id": settings.INVOICE_SELLER_TAX_ID or None,
    }


def tax() -> dict[str, Any] | None:
    """Return name and rate of the tax in prices; None if invoices show none."""
    if not settings.INVOICE_TAX_BASIS_POINTS:
        return None
    return {"name": settings.INVOICE_TAX_NAME, "rate_basis_points": settings.INVOICE_TAX_BASIS_POINTS}


def tax_included(amount_minor: int, rate_basis_points: int) -> int:
    """Return the tax that ``amount_minor`` includes, rounded half up: 2000 basis points of 12000 are 2000."""
    whole = 10_000 + rate_basis_points
    return (2 * amount_minor * rate_basis_points + whole) // (2 * whole)
