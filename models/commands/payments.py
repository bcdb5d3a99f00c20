"""Commands of the payments service."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from core.commands import Command

Action = Literal["accept", "release", "refund"]

# Types of Stripe events that change a Checkout Session, its payment, refunds or disputes. Other types are redundant; an
# endpoint that is subscribed to all receives several of them for each purchase.
STRIPE_EVENT_TYPES = frozenset(
    {
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "payment_intent.amount_capturable_updated",
        "charge.refunded",
        "refund.created",
        "refund.updated",
        "refund.failed",
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
    }
)


@dataclass(frozen=True, kw_only=True)
class IncomingWebhook:
    """A webhook request as received."""

    body: bytes
    headers: Mapping[str, str]  # with lower-case names
    address: str  # IP address of the sender


class CouponLimits(msgspec.Struct, omit_defaults=True):
    """The changeable fields of a coupon. An omitted field stays unchanged; null removes the limit."""

    max_redemptions: int | msgspec.UnsetType | None = msgspec.UNSET
    max_per_user: int | msgspec.UnsetType | None = msgspec.UNSET
    starts_at: datetime | msgspec.UnsetType | None = msgspec.UNSET
    ends_at: datetime | msgspec.UnsetType | None = msgspec.UNSET
    course_ids: list[str] | msgspec.UnsetType | None = msgspec.UNSET

    def fields(self) -> dict[str, Any]:
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not msgspec.UNSET}


class CouponTerms(CouponLimits, kw_only=True):
    """All fields of a new coupon."""

    code: str
    kind: str
    value: int
    currency: str | None = None


class ChangeBundle(Command, service="payments"):
    """Change a bundle or take it off sale."""

    bundle_id: UUID
    expected_version: int
    fields: dict[str, Any]


class CreateBundle(Command, service="payments"):
    """Create a bundle."""

    fields: dict[str, Any]


class ListBundles(Command, service="payments"):
    """Return a page of the bundles on sale, newest first."""

    limit: int
    after: UUID | None


class ShowBundle(Command, service="payments"):
    """Return a bundle; one that is not on sale only to staff."""

    bundle_id: UUID
    for_staff: bool


class StartCheckout(Command, service="payments"):
    """Open a checkout session for a course, a bundle or a plan, or return the open one if its terms are the same."""

    user_id: UUID
    course_id: UUID | None
    plan_id: UUID | None
    provider: str
    success_url: str | None
    cancel_url: str | None
    receipt_email: str | None
    bundle_id: UUID | None = None
    coupon: str | None = None


class ChangeCoupon(Command, service="payments"):
    """Change a coupon's limits."""

    coupon_id: UUID
    expected_version: int
    limits: CouponLimits


class CreateCoupon(Command, service="payments"):
    """Create a coupon."""

    terms: CouponTerms


class ListCoupons(Command, service="payments"):
    """Return a page of coupons, newest first."""

    limit: int
    after: UUID | None


class ShowCoupon(Command, service="payments"):
    """Return a coupon."""

    coupon_id: UUID


class ListDisputes(Command, service="payments"):
    """Return a page of disputes, newest first."""

    order_id: UUID | None
    status: str | None
    limit: int
    after: UUID | None


class ListLedgerAccounts(Command, service="payments"):
    """Return a page of account balances."""

    limit: int
    after: tuple[str, str] | None


class ListLedgerEntries(Command, service="payments"):
    """Return a page of ledger entries, newest first."""

    order_id: UUID | None
    account: str | None
    limit: int
    after: UUID | None


class BuyerDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What a buyer wants on invoices; None: nothing."""

    name: str | None = None
    company: str | None = None
    address: str | None = None
    tax_id: str | None = None


class ShowBillingDetails(Command, service="payments"):
    """Return a buyer's details for invoices."""

    user_id: UUID


class ReplaceBillingDetails(Command, service="payments"):
    """Replace a buyer's details for invoices."""

    user_id: UUID
    expected_version: int
    details: BuyerDetails


class CancelOrder(Command, service="payments"):
    """Cancel an unpaid order after closing its checkout session."""

    order_id: UUID
    user_id: UUID


class ListOrders(Command, service="payments"):
    """Return a page of a user's orders, newest first."""

    user_id: UUID
    limit: int
    after: UUID | None
    status: str | None = None


class ListCoursePurchases(Command, service="payments"):
    """Return a user's latest orders and subscriptions that contain a course: {"orders", "subscriptions"}."""

    user_id: UUID
    course_id: UUID


class ListAccessSources(Command, service="payments"):
    """Return the user's orders and subscriptions that give access to a course."""

    user_id: UUID
    course_id: UUID


class ShowInvoice(Command, service="payments"):
    """Return the invoice of an order of ``user_id`` (None: of any user)."""

    order_id: UUID
    user_id: UUID | None


class ShowOrder(Command, service="payments"):
    """Return an order of ``user_id`` (None: of any user)."""

    order_id: UUID
    user_id: UUID | None


class ShowTimeline(Command, service="payments"):
    """Return a page of the history of an order of ``user_id`` (None: of any user), oldest first."""

    order_id: UUID
    user_id: UUID | None
    limit: int
    after: UUID | None


class SyncAttempt(Command, service="payments"):
    """Fetch the state of one attempt and apply it."""

    attempt_id: UUID


class SyncCheckout(Command, service="payments"):
    """Refresh a checkout when the buyer returns from the provider's page."""

    checkout_id: UUID
    user_id: UUID


class ForgetCustomer(Command, service="payments"):
    """Delete one customer at its provider."""

    erasure_id: UUID


class ChangePlan(Command, service="payments"):
    """Change a plan for new subscribers."""

    plan_id: UUID
    expected_version: int
    changes: dict[str, Any]


class CreatePlan(Command, service="payments"):
    """Create a plan."""

    name: str
    amount_minor: int
    currency: str
    interval: str
    trial_days: int
    course_ids: list[UUID]


class ListPlans(Command, service="payments"):
    """Return a page of the plans on sale, newest first."""

    limit: int
    after: UUID | None


class ShowPlan(Command, service="payments"):
    """Return a plan; one that is not on sale only to staff."""

    plan_id: UUID
    for_staff: bool


class ListReconciliations(Command, service="payments"):
    """Return a page of reconciliation reports, newest first."""

    limit: int
    after: UUID | None


class ListRefunds(Command, service="payments"):
    """Return a page of the refunds of an order, oldest first."""

    order_id: UUID
    user_id: UUID | None
    after: UUID | None
    limit: int


class RefundOrder(Command, service="payments"):
    """Refund ``amount_minor`` of a payment of an order; None refunds the remaining amount."""

    order_id: UUID
    amount_minor: int | None
    reason: str
    requested_by: UUID
    payment_id: UUID | None = None
    keeps_access: bool = False


class SyncRefund(Command, service="payments"):
    """Submit one refund to its provider, or fetch its state, and apply the outcome."""

    refund_id: UUID


class ListAllRefunds(Command, service="payments"):
    """Return a page of refunds of all orders, newest first."""

    status: str | None
    limit: int
    after: UUID | None


class ListPayments(Command, service="payments"):
    """Return a page of payments, newest first."""

    order_id: UUID | None
    status: str | None
    limit: int
    after: UUID | None


class ResolveDispute(Command, service="payments"):
    """Resolve a dispute in review."""

    dispute_id: UUID
    action: Action
    amount_minor: int | None
    note: str
    actor: UUID


class ResolvePayment(Command, service="payments"):
    """Resolve a payment in review."""

    payment_id: UUID
    action: Action
    note: str
    actor: UUID


class ResolveRefund(Command, service="payments"):
    """Resolve a refund in review."""

    refund_id: UUID
    action: Action
    note: str
    actor: UUID


class ShowPayment(Command, service="payments"):
    """Return a payment with the decisions about it."""

    payment_id: UUID


class CancelSubscription(Command, service="payments"):
    """Cancel at the end of the current period."""

    subscription_id: UUID
    user_id: UUID


class ListSubscriptions(Command, service="payments"):
    """Return a page of a user's subscriptions, newest first."""

    user_id: UUID
    limit: int
    after: UUID | None
    status: str | None = None


class ProcessSubscription(Command, service="payments"):
    """Take the due step: announce the end of the trial, charge for the next period, or end the subscription."""

    subscription_id: UUID


class ShowSubscription(Command, service="payments"):
    """Return a subscription of a user."""

    subscription_id: UUID
    user_id: UUID


class StartSubscription(Command, service="payments"):
    """Subscribe to a plan with the payment method saved at this provider."""

    user_id: UUID
    plan_id: UUID
    provider: str
    receipt_email: str | None


class ApplyProviderEvent(Command, service="payments"):
    """Fetch the object the webhook refers to and apply its current state."""

    provider_event_id: UUID


class ReceiveWebhook(Command, service="payments"):
    """Verify and store a webhook."""

    provider: str
    webhook: IncomingWebhook
