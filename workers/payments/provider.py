"""What we ask of a payment provider: value types in, value types out; no tables, no HTTP, no SDK."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, Self
from uuid import UUID

from models.payments import Attempt, Order, Snapshot


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """The payment page that an attempt wants. Made from stored rows alone, so that a repeat asks for the same."""

    attempt_id: UUID  # the idempotency key
    order_id: UUID
    description: str
    amount_minor: int
    currency: str
    success_url: str
    cancel_url: str | None
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, attempt: Attempt, order: Order) -> Self:
        return cls(
            attempt_id=attempt.id,
            order_id=order.id,
            description=order.course_title,
            amount_minor=attempt.amount_minor,
            currency=attempt.currency,
            success_url=attempt.success_url,
            cancel_url=attempt.cancel_url,
            created_at=attempt.created_at,
            expires_at=attempt.expires_at,
        )


@dataclass(frozen=True, kw_only=True)
class RefundRequest:
    """Money that is to go back. Made from stored rows alone, so that a repeat asks for the same."""

    refund_id: UUID  # the idempotency key
    order_id: UUID
    attempt_id: UUID
    payment_id: str  # the provider's
    description: str
    amount_minor: int
    currency: str
    receipt_email: str | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class RefundSnapshot:
    """What a provider says of a refund, in our words; fetched by us."""

    object_id: str  # the provider's
    status: Literal["pending", "succeeded", "failed", "canceled"]
    amount_minor: int
    currency: str
    payment_id: str
    refund_id: str | None  # as our metadata says
    failure_reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A webhook whose sender is proved: something happened to an object of theirs."""

    dedupe_key: str
    type: str
    object_id: str


class Provider(Protocol):
    """A payment provider, with one account of ours.

    Each call raises ProviderUnavailable where nothing was done, ProviderOutcomeUnknown where that is not certain.
    """

    @property
    def account(self) -> str: ...

    @property
    def live_mode(self) -> bool:
        """Whether real money moves."""
        ...

    def open_page(self, request: PageRequest) -> Snapshot:
        """A new payment page, or the one that was opened under the same key, as it is now. Raises PaymentRefused."""
        ...

    def fetch(self, object_id: str) -> Snapshot | None:
        """The payment page with this id, or that the payment with this id was made on; None where there is none."""
        ...

    def find(self, request: PageRequest) -> Snapshot | None:
        """The page that was opened for ``request``, looked for in the provider's lists."""
        ...

    def expire_page(self, page_id: str) -> Snapshot:
        """Close a page, unless it was paid before; returns what it is now."""
        ...

    def refund(self, request: RefundRequest) -> RefundSnapshot:
        """Give money back, once for each key; returns what became of it. Raises PaymentRefused."""
        ...

    def find_refund(self, request: RefundRequest) -> RefundSnapshot | None:
        """The refund that was made for ``request``, looked for in the provider's lists."""
        ...

    def read_notice(self, body: bytes, headers: Mapping[str, str], *, at: datetime) -> Notice | None:
        """A webhook's notice; None where it tells of nothing that we follow. Raises SignatureInvalid."""
        ...


Providers = Mapping[str, Provider]
