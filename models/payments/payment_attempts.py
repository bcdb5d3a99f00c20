"""Payment attempts: one try to pay an order with one provider, usually in a checkout session.

The outcome comes only from the state fetched from the provider (``PaymentSnapshot``) or from an operator's decision,
never from a webhook's body or the buyer's return to the success URL.
"""

from datetime import datetime, timedelta
from typing import Any, Literal, Self
from uuid import UUID

from sqlalchemy import ColumnElement, ForeignKey, UniqueConstraint, bindparam, func, select
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText, new_id
from models.errors import NotFound

from .payment_snapshots import PaymentSnapshot, PaymentTerms

AttemptStatus = Literal[
    "created",  # committed before the provider is called; the call may have been made or not
    "requires_action",  # the checkout session is open
    "processing",  # the buyer has completed the checkout, the bank has not confirmed the payment
    "authorized",  # the money is reserved, not captured
    "succeeded",
    "failed",  # declined; the buyer may retry while the checkout session is open
    "canceled",
    "expired",
    "unknown",  # the outcome of the call is unknown (timeout, error): never treated as a failure
    "review",  # the provider's object does not match the attempt: nothing is fulfilled until an operator decides
    "duplicate",  # captured money that does not pay the order (paid already, or not wanted): it is refunded
]

# An attempt in one of these statuses prevents another attempt for the order.
LIVE = frozenset({"created", "requires_action", "processing", "authorized", "unknown", "review"})
# Money was captured: only a refund or a dispute returns it.
SETTLED = frozenset({"succeeded", "duplicate"})
# A mismatch in one of these fields means that the snapshot is not of this attempt's checkout session.
IDENTITY_FIELDS = frozenset({"account", "live_mode", "checkout_session_id"})

_FIRST_SYNC_AFTER = timedelta(minutes=1)
_MAX_SYNC_INTERVAL = timedelta(hours=6)


class PaymentAttempt(Base):
    """One payment attempt. Its id is the idempotency key of the call that creates the checkout session or charge."""

    __tablename__ = "payment_attempts"
    __table_args__ = (
        # An object of a provider belongs to one attempt.
        UniqueConstraint("provider", "account", "checkout_session_id"),
        UniqueConstraint("provider", "account", "payment_id"),
        {"schema": "payments"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("payments.orders.id"))
    status: Mapped[AttemptStatus]
    provider: Mapped[str]
    account: Mapped[str]
    live_mode: Mapped[bool]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    # Amounts are counters, because one payment may be refunded and disputed in parts. Minor units.
    captured_minor: Mapped[int]
    captured_currency: Mapped[str | None]  # only if it differs from the requested one: see money_currency
    refund_pending_minor: Mapped[int]
    refunded_minor: Mapped[int]
    disputed_minor: Mapped[int]  # withheld by the bank until a dispute is decided
    charged_back_minor: Mapped[int]  # lost to disputes
    success_url: Mapped[PrivateText]
    cancel_url: Mapped[PrivateText | None]
    saves_method: Mapped[bool]
    method_id: Mapped[PrivateText | None]
    customer_id: Mapped[PrivateText | None]
    is_scheduled: Mapped[bool]  # charged by the renewal job: a failure counts in dunning
    receipt_email: Mapped[PrivateText | None]
    receipt_status: Mapped[str | None]  # pending, succeeded, canceled; None: no receipt requested
    checkout_session_id: Mapped[str | None]
    checkout_url: Mapped[PrivateText | None]
    checkout_session_open: Mapped[bool]
    payment_id: Mapped[str | None]
    # The session was replaced or abandoned: its end does not expire the order, and an authorization is voided.
    superseded: Mapped[bool]
    problem: Mapped[str | None]  # the decline code, or the fields that do not match
    failed_at: Mapped[datetime | None]  # the first decline
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    next_sync_at: Mapped[datetime | None]
    syncs: Mapped[int]

    @classmethod
    def create(cls, terms: PaymentTerms, *, ttl: timedelta, at: datetime) -> Self:
        """Create an attempt. The caller commits it before it calls the provider."""
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
            checkout_session_open=False,
            superseded=False,
            created_at=at,
            expires_at=at + ttl,
            # If the process dies during the call, the job fetches the outcome.
            next_sync_at=at + _FIRST_SYNC_AFTER,
            syncs=0,
        )

    @classmethod
    def find_by_provider_object(
        cls, session: Session, provider: str, snapshot: PaymentSnapshot
    ) -> "PaymentAttempt | None":
        """Find the attempt of a provider's object by its checkout session, or by our metadata on the object."""
        named = {
            "provider": provider,
            "account": snapshot.account,
            "checkout_session_id": snapshot.checkout_session_id,
            "attempt_id": _uuid(snapshot.attempt_id),
        }
        return session.scalars(_BY_PROVIDER_OBJECT, named).one_or_none()

    @classmethod
    def due(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Return and lock attempts due for a sync with the provider. Rows locked by other workers are skipped."""
        due = select(cls).where(cls.next_sync_at <= at).order_by(cls.next_sync_at).limit(limit)
        return list(session.scalars(due.with_for_update(skip_locked=True)))

    @classmethod
    def get(cls, session: Session, payment_id: UUID) -> Self:
        """Return a payment without locking it. Raises NotFound."""
        attempt = session.get(cls, payment_id)
        if attempt is None:
            raise NotFound("payment", str(payment_id))
        return attempt

    @classmethod
    def list_page(
        cls, session: Session, *, order_id: UUID | None, status: str | None, limit: int, after: UUID | None
    ) -> list[Self]:
        """List payments, newest first. ``after`` is the last id of the previous page."""
        payments = select(cls).order_by(cls.id.desc()).limit(limit)
        if order_id:
            payments = payments.where(cls.order_id == order_id)
        if status:
            payments = payments.where(cls.status == status)
        return list(session.scalars(payments.where(cls.id < after) if after else payments))

    @property
    def terms(self) -> PaymentTerms:
        return PaymentTerms(
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

    @hybrid_property
    def money_currency(self) -> str:
        """The currency of the captured money."""
        return self.captured_currency or self.currency

    @money_currency.inplace.expression
    @classmethod
    def _money_currency(cls) -> ColumnElement[str]:
        return func.coalesce(cls.captured_currency, cls.currency)

    @property
    def refundable_minor(self) -> int:
        """The captured amount that is not refunded, being refunded, disputed or charged back."""
        away_minor = self.refund_pending_minor + self.refunded_minor + self.disputed_minor + self.charged_back_minor
        return max(self.captured_minor - away_minor, 0)

    @property
    def reversed_minor(self) -> int:
        """The amount that was refunded or lost to disputes."""
        return self.refunded_minor + self.charged_back_minor

    @property
    def is_live(self) -> bool:
        """Whether it may still bring money without a new checkout session."""
        return self.checkout_session_open or self.status in LIVE

    @property
    def may_still_change(self) -> bool:
        """Whether the state at the provider may still change, so that a sync is useful."""
        if self.status in SETTLED:
            return self.receipt_status == "pending"
        return self.is_live or self.checkout_session_id is not None

    @property
    def needs_manual_review(self) -> bool:
        """Whether its outcome is unexpected, so that it is logged as an error."""
        return self.status in {"review", "duplicate"}

    @property
    def is_awaiting_provider(self) -> bool:
        """Whether the buyer cannot act: the bank, the capture or an operator's review is pending."""
        return self.status in {"processing", "authorized", "review"}

    @property
    def waits_for_buyer(self) -> bool:
        """Whether the checkout session is open and the buyer has not paid yet."""
        return self.checkout_session_open and not self.is_awaiting_provider

    def can_reuse_for(self, terms: PaymentTerms) -> bool:
        """Whether the open checkout session can be reused for a checkout on ``terms``."""
        return self.waits_for_buyer and self.terms == terms

    def accepts(self, snapshot: PaymentSnapshot) -> bool:
        """Whether ``snapshot`` may change it. An ended attempt, and one in review, accepts only a success."""
        # Money in review is booked in the suspense account already: only an operator's decision moves it.
        if self.status in SETTLED or (self.status == "review" and self.captured_minor):
            return False
        return snapshot.status == "succeeded" or (self.is_live and self.status != "review")

    def mismatches(self, snapshot: PaymentSnapshot) -> list[str]:
        """Return the names of the fields in which ``snapshot`` differs from the request."""
        expected: dict[str, Any] = {
            "account": self.account,
            "live_mode": self.live_mode,
            "order_id": str(self.order_id),
            "attempt_id": str(self.id),
            "amount_minor": self.amount_minor,
            "currency": self.currency,
        }
        if self.checkout_session_id:
            expected["checkout_session_id"] = self.checkout_session_id
        if snapshot.status == "succeeded":
            expected["captured_minor"] = self.amount_minor
        return [name for name, value in expected.items() if getattr(snapshot, name) != value]

    def apply(self, snapshot: PaymentSnapshot, *, at: datetime) -> None:
        """Apply a snapshot without mismatches and schedule the next sync."""
        changed = self.status != snapshot.status
        self.status = snapshot.status
        self.checkout_session_id = snapshot.checkout_session_id
        self.checkout_url = snapshot.checkout_url
        self.checkout_session_open = snapshot.checkout_session_open
        self.payment_id = snapshot.payment_id
        self.problem = snapshot.failure_reason if snapshot.status == "failed" else None
        if snapshot.status == "succeeded":
            self.captured_minor = snapshot.captured_minor
        if not self.is_live and not snapshot.still_payable:
            self.next_sync_at = None
        elif changed:
            self.syncs, self.next_sync_at = 0, at + _FIRST_SYNC_AFTER

    def apply_receipt(self, snapshot: PaymentSnapshot, *, at: datetime) -> bool:
        """Apply the status of the fiscal receipt. Returns True if it was canceled now: staff must issue it manually."""
        was, self.receipt_status = self.receipt_status, snapshot.receipt
        if snapshot.receipt == "pending" and snapshot.status == "succeeded" and self.next_sync_at is None:
            self.next_sync_at = at + _FIRST_SYNC_AFTER
        return snapshot.receipt == "canceled" != was

    def stop_polling(self) -> None:
        """Stop polling: the state at the provider is final."""
        self.next_sync_at = None

    def mark_for_review(self, mismatches: list[str], snapshot: PaymentSnapshot | None = None) -> None:
        """Put the attempt in review until an operator decides, because the provider's object does not match.

        Money captured in this attempt's own checkout session is recorded nevertheless, so that the ledger has it.
        """
        self.status = "review"
        self.problem = f"does not match: {', '.join(mismatches)}"
        self.next_sync_at = None
        if snapshot and not IDENTITY_FIELDS & set(mismatches):
            self._copy_provider_state(snapshot)

    def accept_from_review(self, snapshot: PaymentSnapshot) -> None:
        """Leave review as a success. An amount that is booked in suspense already is not changed by ``snapshot``."""
        if not self.captured_minor:
            self._copy_provider_state(snapshot)
        self.status, self.problem, self.checkout_session_open = "succeeded", None, False

    def release_from_review(self, reason: str) -> None:
        """Leave review as failed. The caller has closed the session and voided an authorization at the provider."""
        self.status, self.problem, self.checkout_session_open, self.next_sync_at = "failed", reason, False, None

    def _copy_provider_state(self, snapshot: PaymentSnapshot) -> None:
        self.checkout_session_id = self.checkout_session_id or snapshot.checkout_session_id
        self.checkout_session_open = snapshot.checkout_session_open
        self.payment_id = snapshot.payment_id
        self.captured_minor = snapshot.captured_minor
        self.captured_currency = snapshot.currency if snapshot.currency != self.currency else None

    def mark_unknown(self) -> None:
        """Record that the call to create the checkout session or charge had no clear outcome."""
        if self.status == "created":
            self.status = "unknown"

    def mark_open_failed(self, reason: str) -> bool:
        """Record that the provider refused to create the checkout session, so that no money can come.

        Returns False if nothing changed.
        """
        if self.checkout_session_id is not None or self.status not in {"created", "unknown"}:
            return False
        self.status = "failed"
        self.problem = reason
        self.next_sync_at = None
        return True

    def not_found_snapshot(self) -> PaymentSnapshot:
        """Return the snapshot for a session that the provider does not know and that cannot be created any more."""
        return PaymentSnapshot(
            account=self.account,
            live_mode=self.live_mode,
            checkout_session_id=None,
            checkout_url=None,
            checkout_session_open=False,
            payment_id=None,
            status="expired",
            amount_minor=self.amount_minor,
            currency=self.currency,
            captured_minor=0,
            order_id=str(self.order_id),
            attempt_id=str(self.id),
        )

    def postpone_sync(self, *, at: datetime) -> None:
        """Sync again after 2, 4, 8 … minutes, at least every six hours, and one minute after ``expires_at``."""
        self.syncs += 1
        self.next_sync_at = at + min(_FIRST_SYNC_AFTER * 2 ** min(self.syncs, 10), _MAX_SYNC_INTERVAL)
        if at < self.expires_at:
            self.next_sync_at = min(self.next_sync_at, self.expires_at + _FIRST_SYNC_AFTER)

    def schedule_close(self, *, at: datetime) -> None:
        """Let the next run of the job close the checkout session, because the buyer's account is erased."""
        self.superseded = True
        self.next_sync_at = at

    def clear_personal_data(self) -> bool:
        """Clear the URLs, the e-mail and the provider's ids that may identify the buyer; False if already cleared."""
        was = (self.success_url, self.cancel_url, self.receipt_email, self.method_id, self.customer_id)
        self.success_url = ""
        self.cancel_url = self.receipt_email = self.method_id = self.customer_id = None
        return was != ("", None, None, None, None)

    def to_response(self) -> dict[str, Any]:
        """Return the representation as an item of GET /v1/payments."""
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

    def to_checkout_response(self) -> dict[str, Any]:
        """Return the response of POST /v1/checkouts."""
        return {
            "id": self.id,
            "order_id": self.order_id,
            "status": self.status,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "redirect_url": self.checkout_url,
            "expires_at": self.expires_at,
        }


# Built once: building a statement takes longer than executing it. A comparison with NULL is never true.
_BY_PROVIDER_OBJECT = (
    select(PaymentAttempt)
    .where(
        PaymentAttempt.provider == bindparam("provider"),
        (PaymentAttempt.id == bindparam("attempt_id"))
        | (PaymentAttempt.account == bindparam("account"))
        & (PaymentAttempt.checkout_session_id == bindparam("checkout_session_id")),
    )
    # Prefer the match by session: if the metadata names another attempt, ``mismatches`` then reports it.
    .order_by(PaymentAttempt.checkout_session_id.is_distinct_from(bindparam("checkout_session_id")))
    .limit(1)
)


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None  # metadata of another system on the same provider account
