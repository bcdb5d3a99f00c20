"""One try to pay an order: a page at a provider, and what became of it.

An attempt is changed by what a provider said when we asked it (``Snapshot``), and by nothing else: never by a webhook's
body, never by the buyer's return.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import UUID

from sqlalchemy import ForeignKey, false, select
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from models.base import Base, new_id
from models.errors import NotFound

if TYPE_CHECKING:
    from .orders import Order

Neutral = Literal["requires_action", "processing", "authorized", "succeeded", "failed", "canceled", "expired"]
AttemptStatus = Literal[
    "created",  # committed before the provider is called; the call may have been made or not
    "requires_action",  # the page is open
    "processing",  # the buyer has done their part, the bank has not
    "authorized",
    "succeeded",
    "failed",  # declined; on a page that is still open the buyer may try again
    "canceled",
    "expired",
    "unknown",  # the call gave no clear answer: never treated as a failure
    "review",  # the provider's object does not match ours: nothing is fulfilled until a person has looked
    "duplicate",  # money for an order that was paid already
]

# While one of these is there, no other page may be opened for the order.
LIVE = frozenset({"created", "requires_action", "processing", "authorized", "unknown", "review"})
# Money has come: nothing takes it back but a refund.
SETTLED = frozenset({"succeeded", "duplicate"})
# What does not match where a snapshot is of another object than the attempt's own page.
OF_ANOTHER_OBJECT = frozenset({"account", "live_mode", "page_id"})
_ENDED = frozenset({"succeeded", "failed", "canceled", "expired"})

_FIRST_SYNC_AFTER = timedelta(minutes=1)
_SYNC_AT_LEAST_EVERY = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On what a payment page is opened. Other terms need another page."""

    provider: str
    account: str
    live_mode: bool
    amount_minor: int
    currency: str
    success_url: str
    cancel_url: str | None
    receipt_email: str | None = None
    saves_method: bool = False  # the buyer's card is kept for charges to come
    # A saved card that is charged without the buyer, and whose it is at the provider; None: on a page.
    method_id: str | None = None
    customer_id: str | None = None
    is_scheduled: bool = False  # charged by the renewal job, not at the buyer's request


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a provider says of a payment page and of the money behind it, in our words; fetched by us."""

    account: str
    live_mode: bool
    page_id: str | None  # None: it was never opened
    page_url: str | None
    page_open: bool  # it can still be paid, after a decline too
    payment_id: str | None
    status: Neutral
    amount_minor: int
    currency: str
    captured_minor: int
    order_id: str | None  # as our metadata says
    attempt_id: str | None
    failure_reason: str | None = None  # the provider's code of the last decline
    receipt: str | None = None  # of the receipt that the law asks for: pending, succeeded, canceled
    method_id: str | None = None  # what was saved, to be charged again
    customer_id: str | None = None
    lingers: bool = False  # given up by us, and the provider would still let the buyer pay

    @property
    def is_final(self) -> bool:
        """Whether the provider has nothing new to tell of it."""
        if self.page_open or self.lingers:
            return False
        return self.status in _ENDED and not (self.status == "succeeded" and self.receipt == "pending")


class Attempt(Base):
    """Its id is the idempotency key of the call that opens its page."""

    __tablename__ = "attempts"
    __table_args__ = ({"schema": "payments"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("payments.orders.id"))
    status: Mapped[AttemptStatus]
    provider: Mapped[str]
    account: Mapped[str]
    live_mode: Mapped[bool]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    # Money is counters, not statuses.
    captured_minor: Mapped[int]
    captured_currency: Mapped[str | None]  # where it is not the one that was asked for: see money_currency
    refund_pending_minor: Mapped[int]
    refunded_minor: Mapped[int]
    disputed_minor: Mapped[int]  # what a bank holds until a dispute is decided
    charged_back_minor: Mapped[int]  # what it has taken for good
    success_url: Mapped[str]
    cancel_url: Mapped[str | None]
    saves_method: Mapped[bool]
    method_id: Mapped[str | None]
    customer_id: Mapped[str | None]
    is_scheduled: Mapped[bool]  # by the renewal job: a failure is a step of dunning
    receipt_email: Mapped[str | None]
    receipt_status: Mapped[str | None]  # pending, succeeded, canceled; None where no receipt is asked for
    page_id: Mapped[str | None]
    page_url: Mapped[str | None]
    page_open: Mapped[bool]
    payment_id: Mapped[str | None]
    # Its page is given up, for another one or for good: its end is not the order's, and what it holds is let go.
    superseded: Mapped[bool]
    problem: Mapped[str | None]  # why it failed, or what does not match
    failed_at: Mapped[datetime | None]  # the first decline
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    next_sync_at: Mapped[datetime | None]
    syncs: Mapped[int]

    order: Mapped["Order"] = relationship(lazy="raise", back_populates="attempts")

    @classmethod
    def begin(cls, terms: Terms, *, open_for: timedelta, at: datetime) -> Self:
        """An attempt that is to be committed before its provider is called."""
        return cls(
            id=new_id(),
            status="created",
            provider=terms.provider,
            account=terms.account,
            live_mode=terms.live_mode,
            amount_minor=terms.amount_minor,
            currency=terms.currency,
            captured_minor=0,
            refund_pending_minor=0,
            refunded_minor=0,
            disputed_minor=0,
            charged_back_minor=0,
            success_url=terms.success_url,
            cancel_url=terms.cancel_url,
            receipt_email=terms.receipt_email,
            saves_method=terms.saves_method,
            method_id=terms.method_id,
            customer_id=terms.customer_id,
            is_scheduled=terms.is_scheduled,
            page_open=False,
            superseded=False,
            created_at=at,
            expires_at=at + open_for,
            # Should we die in the call, the job finds out what came of it.
            next_sync_at=at + _FIRST_SYNC_AFTER,
            syncs=0,
        )

    @classmethod
    def named_by(cls, session: Session, provider: str, snapshot: Snapshot) -> Self | None:
        """Return the provider's attempt that its object belongs to: by its page, or by our metadata on it."""
        by_page = (cls.account == snapshot.account) & (cls.page_id == snapshot.page_id)
        attempt_id = _uuid(snapshot.attempt_id)
        by_metadata = (cls.id == attempt_id) if attempt_id else false()
        # The page first: where its metadata names another attempt, the comparison is to find that out.
        own_page_first = cls.page_id.is_distinct_from(snapshot.page_id)
        return session.scalars(
            select(cls).where(cls.provider == provider, by_page | by_metadata).order_by(own_page_first).limit(1)
        ).one_or_none()

    @classmethod
    def due(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Attempts about which the provider is to be asked now, locked; another's are left to them."""
        due = select(cls).where(cls.next_sync_at <= at).order_by(cls.next_sync_at).limit(limit)
        return list(session.scalars(due.with_for_update(skip_locked=True)))

    @classmethod
    def find(cls, session: Session, payment_id: UUID) -> Self:
        """Return a payment, read only. Raises NotFound."""
        attempt = session.get(cls, payment_id)
        if attempt is None:
            raise NotFound("payment", str(payment_id))
        return attempt

    @classmethod
    def page(
        cls, session: Session, *, order_id: UUID | None, status: str | None, limit: int, after: UUID | None
    ) -> list[Self]:
        """Return payments, the newest first; ``after`` is the last one of the page before."""
        payments = select(cls).order_by(cls.id.desc()).limit(limit)
        if order_id:
            payments = payments.where(cls.order_id == order_id)
        if status:
            payments = payments.where(cls.status == status)
        return list(session.scalars(payments.where(cls.id < after) if after else payments))

    @property
    def terms(self) -> Terms:
        return Terms(
            provider=self.provider,
            account=self.account,
            live_mode=self.live_mode,
            amount_minor=self.amount_minor,
            currency=self.currency,
            success_url=self.success_url,
            cancel_url=self.cancel_url,
            receipt_email=self.receipt_email,
            saves_method=self.saves_method,
            method_id=self.method_id,
            customer_id=self.customer_id,
            is_scheduled=self.is_scheduled,
        )

    @property
    def money_currency(self) -> str:
        """The currency of what was captured."""
        return self.captured_currency or self.currency

    @property
    def refundable_minor(self) -> int:
        """What may be given back: nothing that is away already, or that a bank has in its hands."""
        away_minor = self.refund_pending_minor + self.refunded_minor + self.disputed_minor + self.charged_back_minor
        return max(self.captured_minor - away_minor, 0)

    @property
    def reversed_minor(self) -> int:
        """What has gone back for good: refunded, or lost to a dispute."""
        return self.refunded_minor + self.charged_back_minor

    @property
    def is_live(self) -> bool:
        """Whether it may still bring money without a new page."""
        return self.page_open or self.status in LIVE

    @property
    def is_open_question(self) -> bool:
        """Whether the provider may still tell us something new about it."""
        if self.status in SETTLED:
            return self.receipt_status == "pending"
        return self.is_live or self.page_id is not None

    @property
    def needs_a_person(self) -> bool:
        return self.status in {"review", "duplicate"}

    @property
    def is_out_of_hand(self) -> bool:
        """Whether the buyer can do nothing about it for now: a bank or a person of ours is at work."""
        return self.status in {"processing", "authorized", "review"}

    @property
    def waits_for_buyer(self) -> bool:
        """Whether its page is open, and the buyer has not paid there yet."""
        return self.page_open and not self.is_out_of_hand

    def is_payable_on(self, terms: Terms) -> bool:
        """Whether its page is what a buyer on these terms is to be sent to."""
        return self.waits_for_buyer and self.terms == terms

    def heeds(self, snapshot: Snapshot) -> bool:
        """Whether ``snapshot`` may change it. What has ended, and what a person looks at, gives way to money alone."""
        # Money in review is in the books already: only the decision of a person moves it.
        if self.status in SETTLED or (self.status == "review" and self.captured_minor):
            return False
        return snapshot.status == "succeeded" or (self.is_live and self.status != "review")

    def mismatches(self, snapshot: Snapshot) -> list[str]:
        """The names of what is not as we asked for it."""
        expected: dict[str, Any] = {
            "account": self.account,
            "live_mode": self.live_mode,
            "order_id": str(self.order_id),
            "attempt_id": str(self.id),
            "amount_minor": self.amount_minor,
            "currency": self.currency,
        }
        if self.page_id:
            expected["page_id"] = self.page_id
        if snapshot.status == "succeeded":
            expected["captured_minor"] = self.amount_minor
        return [name for name, value in expected.items() if getattr(snapshot, name) != value]

    def follow(self, snapshot: Snapshot, *, at: datetime) -> None:
        """Take over a snapshot that matches."""
        changed = self.status != snapshot.status
        self.status = snapshot.status
        self.page_id = snapshot.page_id
        self.page_url = snapshot.page_url
        self.page_open = snapshot.page_open
        self.payment_id = snapshot.payment_id
        self.problem = snapshot.failure_reason if snapshot.status == "failed" else None
        if snapshot.status == "succeeded":
            self.captured_minor = snapshot.captured_minor
        if not self.is_live and not snapshot.lingers:
            self.next_sync_at = None
        elif changed:
            self.syncs, self.next_sync_at = 0, at + _FIRST_SYNC_AFTER

    def follow_receipt(self, snapshot: Snapshot, *, at: datetime) -> bool:
        """Take over how the receipt stands; True when it was canceled just now, which a person has to make good."""
        was, self.receipt_status = self.receipt_status, snapshot.receipt
        if snapshot.receipt == "pending" and snapshot.status == "succeeded" and self.next_sync_at is None:
            self.next_sync_at = at + _FIRST_SYNC_AFTER
        return snapshot.receipt == "canceled" != was

    def rest(self) -> None:
        """Ask no more: the provider has said its last word."""
        self.next_sync_at = None

    def hold_for_review(self, mismatches: list[str], snapshot: Snapshot | None = None) -> None:
        """Stop until a person has decided: what the provider has is not what we asked for.

        What a ``snapshot`` of this attempt's own page says was captured is ours to account for all the same.
        """
        self.status = "review"
        self.problem = f"does not match: {', '.join(mismatches)}"
        self.next_sync_at = None
        if snapshot and not OF_ANOTHER_OBJECT & set(mismatches):
            self._take_over(snapshot)

    def accept(self, snapshot: Snapshot) -> None:
        """Leave review as a success with what was captured; what is booked in suspense already stays so much."""
        if not self.captured_minor:
            self._take_over(snapshot)
        self.status, self.problem, self.page_open = "succeeded", None, False

    def give_up(self, reason: str) -> None:
        """Leave review without money: its page is closed, and what was held on it is released."""
        self.status, self.problem, self.page_open, self.next_sync_at = "failed", reason, False, None

    def _take_over(self, snapshot: Snapshot) -> None:
        self.page_id = self.page_id or snapshot.page_id
        self.page_open = snapshot.page_open
        self.payment_id = snapshot.payment_id
        self.captured_minor = snapshot.captured_minor
        self.captured_currency = snapshot.currency if snapshot.currency != self.currency else None

    def lose_sight(self) -> None:
        """Note that the call which opens its page gave no clear answer."""
        if self.status == "created":
            self.status = "unknown"

    def fail_to_open(self, reason: str) -> bool:
        """Record that its provider refused to open its page, so that no money can come; False if nothing changed."""
        if self.page_id is not None or self.status not in {"created", "unknown"}:
            return False
        self.status = "failed"
        self.problem = reason
        self.next_sync_at = None
        return True

    def never_opened(self) -> Snapshot:
        """What there is to say when the provider does not know of the page, and will not make it any more."""
        return Snapshot(
            account=self.account,
            live_mode=self.live_mode,
            page_id=None,
            page_url=None,
            page_open=False,
            payment_id=None,
            status="expired",
            amount_minor=self.amount_minor,
            currency=self.currency,
            captured_minor=0,
            order_id=str(self.order_id),
            attempt_id=str(self.id),
        )

    def postpone_sync(self, *, at: datetime) -> None:
        """Ask again after 2, 4, 8 … minutes, at least every six hours, and when the page has expired."""
        self.syncs += 1
        self.next_sync_at = at + min(_FIRST_SYNC_AFTER * 2 ** min(self.syncs, 10), _SYNC_AT_LEAST_EVERY)
        if at < self.expires_at:
            self.next_sync_at = min(self.next_sync_at, self.expires_at + _FIRST_SYNC_AFTER)

    def close_soon(self, *, at: datetime) -> None:
        """Have its page closed by the next run of the job: its buyer is erased."""
        self.superseded = True
        self.next_sync_at = at

    def forget_buyer(self) -> bool:
        """Clear the addresses, which may tell who the buyer was; False where that was done before."""
        was = (self.success_url, self.cancel_url, self.receipt_email, self.method_id, self.customer_id)
        self.success_url, self.cancel_url, self.receipt_email, self.method_id, self.customer_id = (
            "",
            None,
            None,
            None,
            None,
        )
        return was != ("", None, None, None, None)

    def view(self) -> dict[str, Any]:
        """As an item of GET /v1/payments."""
        return {
            "id": self.id,
            "order_id": self.order_id,
            "status": self.status,
            "provider": self.provider,
            "provider_id": self.payment_id,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "captured_minor": self.captured_minor,
            "captured_currency": self.money_currency,
            "refund_pending_minor": self.refund_pending_minor,
            "refunded_minor": self.refunded_minor,
            "disputed_minor": self.disputed_minor,
            "charged_back_minor": self.charged_back_minor,
            "refundable_minor": self.refundable_minor,
            "problem": self.problem,
            "created_at": self.created_at,
        }

    def checkout_view(self) -> dict[str, Any]:
        """As POST /v1/checkouts shows it."""
        return {
            "id": self.id,
            "order_id": self.order_id,
            "status": self.status,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "redirect_url": self.page_url,
            "expires_at": self.expires_at,
        }


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None  # another system's metadata
