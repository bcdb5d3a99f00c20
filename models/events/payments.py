"""Events published by the payments service. Amounts are in minor units."""

from dataclasses import dataclass, field
from uuid import UUID

from core.events import AwareDatetime, Event


@dataclass(frozen=True, kw_only=True)
class OrderCreated(Event, topic="payments"):
    """A checkout was started."""

    order_id: UUID
    user_id: UUID
    course_id: UUID  # of a bundle the first
    amount_minor: int
    currency: str
    provider: str
    created_at: AwareDatetime
    course_ids: list[UUID] = field(default_factory=list)
    description: str = ""  # names what is bought, for people


@dataclass(frozen=True, kw_only=True)
class OrderCanceled(Event, topic="payments"):
    """A buyer canceled an order before it was paid."""

    order_id: UUID
    user_id: UUID
    course_id: UUID  # of a bundle the first
    canceled_at: AwareDatetime
    course_ids: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class OrderExpired(Event, topic="payments"):
    """An order was not paid before its checkout session expired. A late payment still pays the order."""

    order_id: UUID
    user_id: UUID
    course_id: UUID  # of a bundle the first
    expired_at: AwareDatetime
    course_ids: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class PaymentSucceeded(Event, topic="payments", retained_forever=True):
    """A payment was captured. Its state was fetched from the provider and matches the order."""

    order_id: UUID
    payment_id: UUID  # id of the payment attempt
    user_id: UUID
    description: str  # names what was bought, for people
    amount_minor: int
    currency: str
    provider: str
    paid_at: AwareDatetime
    course_ids: list[UUID] = field(default_factory=list)  # what was bought; empty for a subscription


@dataclass(frozen=True, kw_only=True)
class PaymentFailed(Event, topic="payments"):
    """A payment was declined or abandoned. Another attempt may still pay the order."""

    order_id: UUID
    payment_id: UUID
    user_id: UUID
    description: str
    provider: str
    reason: str  # the provider's code
    failed_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class PaymentRefunded(Event, topic="payments", retained_forever=True):
    """Money was refunded to the buyer."""

    order_id: UUID
    refund_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what had been bought, in words
    amount_minor: int
    currency: str
    provider: str
    is_full_refund: bool  # the order is fully refunded: its access ends
    refunded_at: AwareDatetime
    keeps_access: bool = False  # the shop lets the buyer keep the access
    course_ids: list[UUID] = field(default_factory=list)  # what was bought; empty for a subscription


@dataclass(frozen=True, kw_only=True)
class RefundReversed(Event, topic="payments", retained_forever=True):
    """A refund was reversed because the buyer's bank did not accept it: the shop has the money again."""

    order_id: UUID
    refund_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what had been bought, in words
    amount_minor: int
    currency: str
    provider: str
    order_restored: bool  # the order had been fully refunded: its access is restored
    reversed_at: AwareDatetime
    course_ids: list[UUID] = field(default_factory=list)  # what was bought; empty for a subscription


@dataclass(frozen=True, kw_only=True)
class DisputeOpened(Event, topic="payments"):
    """A dispute was opened: the buyer's bank withholds a payment until the dispute is decided."""

    order_id: UUID
    dispute_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what had been bought, in words
    amount_minor: int
    currency: str
    provider: str
    reason: str  # the provider's code
    order_suspended: bool  # the access is suspended until DISPUTE_CLOSED
    opened_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class DisputeClosed(Event, topic="payments"):
    """A bank decided a dispute. A dispute that the shop lost may still be won later."""

    order_id: UUID
    dispute_id: UUID
    payment_id: UUID
    user_id: UUID
    description: str
    amount_minor: int
    currency: str
    provider: str
    won: bool  # by the shop, which has the money again
    order_restored: bool  # the access is restored
    order_charged_back: bool  # the whole amount of the order is lost: its access ends
    closed_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class CoursePurchased(Event, topic="payments"):
    """A course was purchased, so access must be granted. One event for each course of an order."""

    order_id: UUID
    user_id: UUID
    course_id: UUID
    course_title: str
    purchased_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class SubscriptionStarted(Event, topic="payments"):
    """A subscription was paid for the first time, or its trial started: access to its courses must be granted."""

    subscription_id: UUID
    user_id: UUID
    plan_id: UUID
    plan_name: str
    course_ids: list[UUID]
    trial: bool
    period_end: AwareDatetime
    started_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class SubscriptionRenewed(Event, topic="payments"):
    """The next period of a subscription was paid."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    order_id: UUID  # the order that paid for the period
    period_start: AwareDatetime
    period_end: AwareDatetime
    renewed_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class SubscriptionPastDue(Event, topic="payments"):
    """The charge for the next period failed. It is retried for some weeks, during which access continues."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    reason: str  # the provider's code
    ends_at: AwareDatetime  # if it is not paid before
    failed_at: AwareDatetime
    is_retried: bool = True  # True: the saved method is charged again; False: the buyer must pay by a checkout


@dataclass(frozen=True, kw_only=True)
class SubscriptionCanceled(Event, topic="payments"):
    """A subscriber canceled. Access continues until ``ends_at``, when SUBSCRIPTION_EXPIRED is published."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    ends_at: AwareDatetime
    canceled_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class SubscriptionExpired(Event, topic="payments"):
    """A subscription ended for the given reason: its access ends."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    reason: str  # canceled, unpaid, trial_ended, account_erased, refunded, disputed
    expired_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class SubscriptionRestored(Event, topic="payments"):
    """A subscription that ended for a refund or dispute got its money back: access is restored until ``period_end``."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    period_end: AwareDatetime
    restored_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class SubscriptionTrialEnding(Event, topic="payments"):
    """A trial ends in some days; the first payment is then due."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    amount_minor: int
    currency: str
    trial_ends_at: AwareDatetime
    notified_at: AwareDatetime
