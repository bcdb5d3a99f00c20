"""What the payments service tells. Money is in minor units."""

from dataclasses import dataclass, field
from uuid import UUID

from .event import Event, Moment


@dataclass(frozen=True, kw_only=True)
class OrderCreated(Event, topic="payments"):
    """A checkout was opened."""

    order_id: UUID
    user_id: UUID
    course_id: UUID  # of a bundle the first
    amount_minor: int
    currency: str
    provider: str
    created_at: Moment
    course_ids: list[UUID] = field(default_factory=list)
    description: str = ""  # what is bought, in words


@dataclass(frozen=True, kw_only=True)
class OrderCanceled(Event, topic="payments"):
    """A buyer gave an order up before it was paid."""

    order_id: UUID
    user_id: UUID
    course_id: UUID  # of a bundle the first
    canceled_at: Moment
    course_ids: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class OrderExpired(Event, topic="payments"):
    """An order was not paid while its page was open. A payment that arrives late still pays it."""

    order_id: UUID
    user_id: UUID
    course_id: UUID  # of a bundle the first
    expired_at: Moment
    course_ids: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class PaymentSucceeded(Event, topic="payments"):
    """The provider's word, fetched by us and equal to the order: the money is taken."""

    order_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what was bought, in words
    amount_minor: int
    currency: str
    provider: str
    paid_at: Moment


@dataclass(frozen=True, kw_only=True)
class PaymentFailed(Event, topic="payments"):
    """A payment was declined or given up; the order may still be paid by another attempt."""

    order_id: UUID
    payment_id: UUID
    user_id: UUID
    description: str
    provider: str
    reason: str  # the provider's code
    failed_at: Moment


@dataclass(frozen=True, kw_only=True)
class PaymentRefunded(Event, topic="payments"):
    """Money has gone back to the buyer."""

    order_id: UUID
    refund_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what had been bought, in words
    amount_minor: int
    currency: str
    provider: str
    order_refunded: bool  # all that was paid for the order has gone back: its access ends
    refunded_at: Moment
    access_kept: bool = False  # … unless the shop has left it to the buyer


@dataclass(frozen=True, kw_only=True)
class RefundReturned(Event, topic="payments"):
    """Money that had gone back was not taken by the buyer's bank: it is with us again, and the payment stands."""

    order_id: UUID
    refund_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what had been bought, in words
    amount_minor: int
    currency: str
    provider: str
    order_restored: bool  # it was all of the order's money: what the order gave is the buyer's again
    returned_at: Moment


@dataclass(frozen=True, kw_only=True)
class PaymentDisputed(Event, topic="payments"):
    """A buyer's bank has taken a payment back until a dispute is decided."""

    order_id: UUID
    dispute_id: UUID
    payment_id: UUID  # our attempt
    user_id: UUID
    description: str  # what had been bought, in words
    amount_minor: int
    currency: str
    provider: str
    reason: str  # the provider's code
    order_suspended: bool  # what the order gave is closed until DISPUTE_CLOSED
    disputed_at: Moment


@dataclass(frozen=True, kw_only=True)
class DisputeClosed(Event, topic="payments"):
    """A bank has decided a dispute; one that it decided against the shop may still be won later."""

    order_id: UUID
    dispute_id: UUID
    payment_id: UUID
    user_id: UUID
    description: str
    amount_minor: int
    currency: str
    provider: str
    won: bool  # by the shop: the money is with us again
    order_restored: bool  # what the order gave is the buyer's again
    order_charged_back: bool  # nothing is left of the order's money: its access is over
    closed_at: Moment


@dataclass(frozen=True, kw_only=True)
class CoursePurchased(Event, topic="payments"):
    """An order pays for this course: access is due. One for each course of the order."""

    order_id: UUID
    user_id: UUID
    course_id: UUID
    course_title: str
    purchased_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionStarted(Event, topic="payments"):
    """A subscription was paid for the first time, or its trial began: access to its courses is due."""

    subscription_id: UUID
    user_id: UUID
    plan_id: UUID
    plan_name: str
    course_ids: list[UUID]
    trial: bool
    period_end: Moment
    started_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionRenewed(Event, topic="payments"):
    """A further period was paid."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    order_id: UUID  # that paid it
    period_start: Moment
    period_end: Moment
    renewed_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionPastDue(Event, topic="payments"):
    """The charge for a further period failed; it is tried again for some weeks, and access stays meanwhile."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    reason: str  # the provider's code
    ends_at: Moment  # unless it is paid
    failed_at: Moment
    is_retried: bool = True  # the saved method is charged again; False: only the buyer can pay, on a page


@dataclass(frozen=True, kw_only=True)
class SubscriptionCanceled(Event, topic="payments"):
    """A subscriber gave notice: access stays until ``ends_at``, when SUBSCRIPTION_EXPIRED is told."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    ends_at: Moment
    canceled_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionExpired(Event, topic="payments"):
    """A subscription is over, whatever the reason: its access ends."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    reason: str  # canceled, unpaid, trial_ended, account_erased, refunded, disputed
    expired_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionRestored(Event, topic="payments"):
    """The money came back for which a subscription was over: its access is due again until ``period_end``."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    period_end: Moment
    restored_at: Moment


@dataclass(frozen=True, kw_only=True)
class SubscriptionTrialEnding(Event, topic="payments"):
    """A trial ends in some days, and the first payment is due then."""

    subscription_id: UUID
    user_id: UUID
    plan_name: str
    amount_minor: int
    currency: str
    trial_ends_at: Moment
    told_at: Moment
