"""What we ask of a payment provider: value types in, value types out; no tables, no HTTP, no SDK."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, Self
from uuid import UUID

from models.errors import ProviderUnavailable, ReceiptEmailMissing
from models.log import get_logger
from models.payments import Attempt, DisputeSnapshot, Movement, Order, Refund, RefundSnapshot, Snapshot

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """The payment page, or the charge, that an attempt wants.

    Made from stored rows alone, so that a repeat asks for the same.
    """

    attempt_id: UUID  # the idempotency key
    order_id: UUID
    description: str
    amount_minor: int
    currency: str
    success_url: str
    cancel_url: str | None
    receipt_email: str | None
    saves_method: bool  # the buyer's card is kept for charges to come
    method_id: str | None  # a saved card, which is charged without a page and without the buyer
    customer_id: str | None
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
            receipt_email=attempt.receipt_email,
            saves_method=attempt.saves_method,
            method_id=attempt.method_id,
            customer_id=attempt.customer_id,
            created_at=attempt.created_at,
            expires_at=attempt.expires_at,
        )


@dataclass(frozen=True, kw_only=True)
class RefundRequest:
    """Money that is to go back. Made from stored rows alone, so that a repeat asks for the same."""

    refund_id: UUID  # the idempotency key
    order_id: UUID
    payment_id: str  # the provider's
    description: str
    amount_minor: int
    currency: str
    receipt_email: str | None

    @classmethod
    def of(cls, refund: Refund, attempt: Attempt, order: Order) -> Self:
        assert attempt.payment_id is not None  # it has brought money
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
class Webhook:
    """What came to our door, as it came."""

    body: bytes
    headers: Mapping[str, str]  # their names in small letters
    address: str  # of whoever sent it


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A webhook whose sender is proved: something happened to an object of theirs, or so it says."""

    dedupe_key: str
    type: str
    object_id: str  # of the page or its payment; where a refund or dispute is told of, of the payment


class AmountRules(Protocol):
    """Which amounts a provider takes; in minor units of ISO 4217."""

    def check_charge(self, amount_minor: int, currency: str) -> None:
        """Raise CurrencyNotSupported, AmountTooSmall, AmountTooLarge or AmountNotDivisible."""
        ...

    def check_refund(self, amount_minor: int, currency: str) -> None:
        """Raise AmountNotDivisible."""
        ...


class Provider(Protocol):
    """A payment provider, with one account of ours.

    Each call raises ProviderUnavailable where nothing was done, ProviderOutcomeUnknown where that is not certain.
    """

    name: str  # as people know it
    page_open_for: timedelta
    wants_receipt_email: bool  # the law has it send a receipt to each buyer

    @property
    def account(self) -> str: ...

    @property
    def amounts(self) -> AmountRules: ...

    @property
    def live_mode(self) -> bool:
        """Whether real money moves."""
        ...

    def open_page(self, request: PageRequest) -> Snapshot:
        """A new payment page, or the one that was opened under the same key, as it is now. Raises PaymentRefused.

        Where a saved method is named it is charged instead; the payment then stands for the page.
        """
        ...

    def fetch(self, object_id: str) -> Snapshot | None:
        """The payment page with this id, or that the payment with this id was made on; None where there is none."""
        ...

    def find(self, request: PageRequest) -> Snapshot | None:
        """The page that was opened for ``request``, looked for in the provider's lists."""
        ...

    def expire_page(self, page_id: str) -> Snapshot:
        """Close a page, unless it was paid before; returns what it is now.

        One that the provider will not close is told as canceled and lingering: what is held on it is to be released.
        """
        ...

    def take(self, snapshot: Snapshot) -> Snapshot:
        """Take the money that is held on an authorized page, all of it; returns what the page is now."""
        ...

    def release(self, snapshot: Snapshot) -> Snapshot:
        """Let the money go that is held on an authorized page; returns what the page is now."""
        ...

    def refund(self, request: RefundRequest) -> RefundSnapshot:
        """Give money back, once for each key; returns what became of it. Raises PaymentRefused."""
        ...

    def refunds_of(self, payment_id: str) -> list[RefundSnapshot]:
        """All refunds of a payment, whoever has asked for them."""
        ...

    def disputes_of(self, payment_id: str) -> list[DisputeSnapshot]:
        """All disputes of a payment; none at a provider that does not tell of them."""
        ...

    def forget_customer(self, customer_id: str) -> None:
        """Delete a customer with the payment methods saved for them; one that is deleted already is no error."""
        ...

    def read_notice(self, webhook: Webhook, *, at: datetime) -> Notice | None:
        """A webhook's notice; None where it tells of nothing that we follow.

        Raises SignatureInvalid, SenderRefused, HookUnreadable.
        """
        ...

    def missed(self, since: datetime) -> Iterator[Notice]:
        """Return everything that may have happened since then, as the provider's webhooks would report it.

        Nothing is left out because a webhook was accepted: the caller knows which notices are stored.
        """
        ...

    def movements(self, since: datetime, until: datetime) -> Iterator[Movement]:
        """Return the payments, refunds and disputes that were made there from ``since`` to before ``until``."""
        ...

    def bears_out(self, kind: str, snapshot: Snapshot) -> bool:
        """Whether what was fetched is as a notice of ``kind`` said, or beyond it."""
        ...


Providers = Mapping[str, Provider]


def provider_of(providers: Providers, attempt: Attempt) -> Provider:
    """Return the provider and account at which ``attempt`` was made: no other one may be asked about it.

    Raises ProviderUnavailable where that account is not configured.
    """
    provider = providers.get(attempt.provider)
    if provider is None or provider.account != attempt.account:
        log.error("no such account is configured", provider=attempt.provider, account=attempt.account)
        raise ProviderUnavailable(attempt.provider)
    return provider


def refuse_unpayable(shop: Provider, amount_minor: int, currency: str, receipt_email: str | None) -> None:
    """Refuse what the provider would refuse, before anything is stored or held.

    Raises CurrencyNotSupported, AmountTooSmall, AmountTooLarge, AmountNotDivisible, ReceiptEmailMissing.
    """
    shop.amounts.check_charge(amount_minor, currency)
    if shop.wants_receipt_email and not receipt_email:
        raise ReceiptEmailMissing(shop.name)
