"""What is asked of a provider for a payment, and the state that it reports, without tables."""

from dataclasses import dataclass
from typing import Literal

ProviderPaymentStatus = Literal[
    "requires_action", "processing", "authorized", "succeeded", "failed", "canceled", "expired"
]

_ENDED = frozenset({"succeeded", "failed", "canceled", "expired"})


@dataclass(frozen=True, kw_only=True)
class PaymentTerms:
    """The parameters of a checkout session. Different terms need another session."""

    provider: str
    account: str
    live_mode: bool
    amount_minor: int
    currency: str
    success_url: str
    cancel_url: str | None
    receipt_email: str | None = None
    saves_method: bool = False  # the provider saves the buyer's card for later charges
    # The provider's ids of a saved card to charge without the buyer, and of its customer; None: checkout session.
    method_id: str | None = None
    customer_id: str | None = None
    is_scheduled: bool = False  # charged by the renewal job, not requested by the buyer


@dataclass(frozen=True, kw_only=True)
class PaymentSnapshot:
    """The state of a checkout session and its payment, fetched from the provider and translated to our statuses."""

    account: str
    live_mode: bool
    checkout_session_id: str | None  # None: the session was never created
    checkout_url: str | None
    checkout_session_open: bool  # the buyer can still pay, also after a decline
    payment_id: str | None
    status: ProviderPaymentStatus
    amount_minor: int
    currency: str
    captured_minor: int
    order_id: str | None  # order_id, attempt_id: from our metadata on the provider's object
    attempt_id: str | None
    failure_reason: str | None = None  # the provider's code of the last decline
    receipt: str | None = None  # status of the fiscal receipt: pending, succeeded, canceled
    method_id: str | None = None  # the saved payment method, for later charges
    customer_id: str | None = None
    still_payable: bool = False  # we gave the session up, but the provider still accepts a payment

    @property
    def is_final(self) -> bool:
        """Whether the state at the provider cannot change any more, so polling may stop."""
        if self.checkout_session_open or self.still_payable:
            return False
        return self.status in _ENDED and not (self.status == "succeeded" and self.receipt == "pending")
