"""The interface of a payment provider and its value types, without tables, HTTP or SDKs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, Self
from uuid import UUID

from core.log import get_logger
from models.commands.payments import IncomingWebhook
from models.errors import ProviderUnavailable, ReceiptEmailMissing
from models.payments import (
    DisputeSnapshot,
    Order,
    PaymentAttempt,
    PaymentSnapshot,
    ProviderTransaction,
    Refund,
    RefundSnapshot,
)

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class PaymentRequest:
    """The checkout session to open, or the charge to make, for an attempt.

    Built from stored rows only, so that a retry sends the same request under the same idempotency key.
    """

    attempt_id: UUID  # the idempotency key
    order_id: UUID
    description: str
    amount_minor: int
    currency: str
    success_url: str
    cancel_url: str | None
    receipt_email: str | None
    saves_method: bool  # whether to save the payment method for later charges
    method_id: str | None  # a saved payment method to charge without checkout session and buyer
    customer_id: str | None
    created_at: datetime
    expires_at: datetime

    @classmethod
    def from_attempt(cls, attempt: PaymentAttempt, order: Order) -> Self:
        return cls(
            attempt_id=attempt.id,
            order_id=order.id,
            description=order.course_title,
            amount_minor=attempt.amount_minor,
            currency=attempt.currency,
            success_url=attempt.success_url,
            cancel_url=attempt.cancel_url,
            receipt_email=attempt.receipt_email,
            saves_method=attempt.saves_method,
            method_id=attempt.method_id,
            customer_id=attempt.customer_id,
            created_at=attempt.created_at,
            expires_at=attempt.expires_at,
        )


@dataclass(frozen=True, kw_only=True)
class RefundRequest:
    """The refund to make. Built from stored rows only, so that a retry sends the same request under the same key."""

    refund_id: UUID  # the idempotency key
    order_id: UUID
    payment_id: str  # of the provider
    description: str
    amount_minor: int
    currency: str
    receipt_email: str | None

    @classmethod
    def from_refund(cls, refund: Refund, attempt: PaymentAttempt, order: Order) -> Self:
        assert attempt.payment_id is not None  # only captured payments are refunded
        return cls(
            refund_id=refund.id,
            order_id=order.id,
            payment_id=attempt.payment_id,
            description=order.course_title,
            amount_minor=refund.amount_minor,
            currency=refund.currency,
            receipt_email=attempt.receipt_email,
        )


@dataclass(frozen=True, kw_only=True)
class ProviderNotification:
    """What a webhook of an authenticated sender refers to. The object's state is fetched, not read from the webhook."""

    dedupe_key: str
    type: str
    object_id: str  # of the checkout session or payment; for refunds and disputes, of their payment


class AmountRules(Protocol):
    """The amounts that a provider accepts, in minor units of ISO 4217."""

    def check_charge(self, amount_minor: int, currency: str) -> None:
        """Raise CurrencyNotSupported, AmountTooSmall, AmountTooLarge or AmountNotDivisible."""
        ...

    def check_refund(self, amount_minor: int, currency: str) -> None:
        """Raise AmountNotDivisible."""
        ...


class Provider(Protocol):
    """A payment provider with one account.

    Calls raise ProviderUnavailable if the provider did nothing, ProviderOutcomeUnknown if it may have acted.
    """

    name: str  # for display
    checkout_session_ttl: timedelta
    requires_receipt_email: bool  # the law requires a receipt for each buyer

    @property
    def account(self) -> str: ...

    @property
    def amounts(self) -> AmountRules: ...

    @property
    def live_mode(self) -> bool:
        """Return whether charges move real money."""
        ...

    def open_checkout_session(self, request: PaymentRequest) -> PaymentSnapshot:
        """Open a checkout session, or return the current state of the one opened under the same key.

        If the request has a ``method_id``, charge that payment method instead; the payment's id is then the
        ``checkout_session_id``. Raises PaymentRefused.
        """
        ...

    def fetch(self, object_id: str) -> PaymentSnapshot | None:
        """Return the state of a checkout session, by its id or the id of its payment; None if the provider has none."""
        ...

    def find(self, request: PaymentRequest) -> PaymentSnapshot | None:
        """Find the checkout session or charge made for ``request`` in the provider's lists; None if there is none."""
        ...

    def expire_checkout_session(self, checkout_session_id: str) -> PaymentSnapshot:
        """Close a checkout session, unless it is already paid; return its state.

        If the provider cannot close it, return it as canceled with ``still_payable`` set: the buyer can still pay
        there, and a later authorization has to be voided.
        """
        ...

    def capture(self, snapshot: PaymentSnapshot) -> PaymentSnapshot:
        """Capture the full amount of an authorized payment; return the state afterwards."""
        ...

    def void(self, snapshot: PaymentSnapshot) -> PaymentSnapshot:
        """Void an authorized payment; return the state afterwards."""
        ...

    def refund(self, request: RefundRequest) -> RefundSnapshot:
        """Refund a payment, once for each ``refund_id``; return the refund's state. Raises PaymentRefused."""
        ...

    def list_refunds(self, payment_id: str) -> list[RefundSnapshot]:
        """Return all refunds of a payment, including those made in the provider's dashboard."""
        ...

    def list_disputes(self, payment_id: str) -> list[DisputeSnapshot]:
        """Return all disputes of a payment; always none if the provider's API does not report disputes."""
        ...

    def delete_customer(self, customer_id: str) -> None:
        """Delete a customer with the saved payment methods. Deleting a deleted customer is no error."""
        ...

    def parse_webhook(self, webhook: IncomingWebhook, *, at: datetime) -> ProviderNotification | None:
        """Authenticate and parse a webhook; return None if its event type is not handled.

        Raises SignatureInvalid, SenderNotAllowed, WebhookMalformed.
        """
        ...

    def list_events(self, since: datetime) -> Iterator[ProviderNotification]:
        """Return all events that may have happened since then, as the provider's webhooks would report them.

        Delivered events are included: the caller filters out the stored ones.
        """
        ...

    def list_transactions(self, since: datetime, until: datetime) -> Iterator[ProviderTransaction]:
        """Return the payments, refunds and disputes created in ``since`` <= time < ``until``."""
        ...

    def confirms(self, kind: str, snapshot: PaymentSnapshot) -> bool:
        """Return whether the fetched state confirms a notification of type ``kind``, or is later than it."""
        ...


Providers = Mapping[str, Provider]


def provider_of(providers: Providers, attempt: PaymentAttempt) -> Provider:
    """Return the provider of ``attempt``. Raises ProviderUnavailable if its account is not the configured one."""
    return provider_at(providers, attempt.provider, attempt.account)


def provider_at(providers: Providers, name: str, account: str) -> Provider:
    """Return the provider ``name``. Raises ProviderUnavailable if ``account`` is not the configured account."""
    provider = providers.get(name)
    if provider is None or provider.account != account:
        log.error("provider account is not configured", provider=name, account=account)
        raise ProviderUnavailable(name)
    return provider


def require_payable(provider: Provider, amount_minor: int, currency: str, receipt_email: str | None) -> None:
    """Refuse amounts and currencies that the provider would refuse, before any payment attempt is created.

    Raises CurrencyNotSupported, AmountTooSmall, AmountTooLarge, AmountNotDivisible, ReceiptEmailMissing.
    """
    provider.amounts.check_charge(amount_minor, currency)
    if provider.requires_receipt_email and not receipt_email:
        raise ReceiptEmailMissing(provider.name)
