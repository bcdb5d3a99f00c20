"""Start checkouts: create the order at its price; ``payment_flow`` has the path of the payment from there."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from core.bus.outbox import record
from core.db import utc_now
from core.fault_injection import crash_point
from models.errors import PaymentInProgress, ReturnUrlNotAllowed
from models.payments import Bundle, Coupon, Offer, Order, Orders, PaymentTerms, Plan, PurchaseQuote
from models.payments.order_responses import free_checkout_response
from models.payments.orders import Priced
from models.payments.ownership import lock_and_require_not_owned, require_not_erased
from workers import task
from workers.runtime.execution import Transactions

from .payment_flow import MAX_PROVIDER_CALLS, PaymentFlow, apply_payment_snapshot, open_or_reuse_attempt
from .provider import Provider, Providers, require_payable
from .subscriptions import Buyer, get_or_create_period_order, open_subscription


@task
def start_checkout(
    transactions: Transactions,
    providers: Providers,
    *,
    user_id: UUID,
    course_id: UUID | None,
    plan_id: UUID | None,
    provider: str,
    success_url: str | None,
    cancel_url: str | None,
    receipt_email: str | None,
    bundle_id: UUID | None = None,
    coupon: str | None = None,
) -> dict[str, Any]:
    """Open a checkout session for a course, a bundle or a plan, or return the open one if its terms are the same.

    A free order is fulfilled at once; a free trial starts at once. Raises AccountErased, NotFound, AlreadyPurchased,
    AlreadySubscribed, PaymentInProgress, ReturnUrlNotAllowed, the errors of ``require_payable``, PaymentRefused,
    ProviderUnavailable, CheckoutOutcomeUnknown, and for coupons: CouponUnknown, CouponExpired, CouponExhausted,
    CouponNotApplicable, CouponCurrencyMismatch.
    """
    for url in (success_url, cancel_url):
        _require_allowed_return_url(url)
    payment_provider, buyer = providers[provider], Buyer(user_id, provider, receipt_email)
    flow = PaymentFlow(transactions, providers)
    for _ in range(MAX_PROVIDER_CALLS):
        with transactions.begin() as session:
            require_not_erased(session, user_id)
            ordered = (
                _order_plan(session, payment_provider, buyer, plan_id)
                if plan_id
                else _order_courses(session, payment_provider, buyer, _get_quote(session, course_id, bundle_id), coupon)
            )
            if isinstance(ordered, dict):
                return transactions.complete(session, ordered)
            order, quote = ordered
            terms = PaymentTerms(
                provider=provider,
                account=payment_provider.account,
                live_mode=payment_provider.live_mode,
                amount_minor=quote.amount_minor,
                currency=quote.currency,
                success_url=success_url or settings.CHECKOUT_RETURN_URL,
                cancel_url=cancel_url,
                receipt_email=receipt_email if payment_provider.requires_receipt_email else None,
                saves_method=plan_id is not None,
            )
            attempt = open_or_reuse_attempt(order, quote, terms, ttl=payment_provider.checkout_session_ttl)
            # Do not supersede an attempt that the provider is processing: its payment may still succeed.
            attempt.superseded = attempt.terms != terms and not attempt.is_awaiting_provider
        crash_point("after the attempt's commit")
        snapshot = flow.call_for_buyer(attempt, order)
        crash_point("after the provider's response")
        with transactions.begin() as session:
            order = apply_payment_snapshot(session, attempt, snapshot)
            crash_point("before the outcome's commit")
            attempt = order.attempt(attempt.id)
            if attempt.can_reuse_for(terms):
                return transactions.complete(session, attempt.to_checkout_response())
        if attempt.is_awaiting_provider:
            break
    raise PaymentInProgress("order", str(order.id))


# The order and the priced item; or the response of the task if nothing has to be paid.
OrderOrResponse = tuple[Order, Priced] | dict[str, Any]


def _get_quote(session: Session, course_id: UUID | None, bundle_id: UUID | None) -> PurchaseQuote:
    if bundle_id:
        return Bundle.get(session, bundle_id).quote(session)
    assert course_id is not None  # the gateway requires one of the two
    return Offer.get(session, course_id).quote


def _order_courses(
    session: Session, payment_provider: Provider, buyer: Buyer, quote: PurchaseQuote, coupon: str | None
) -> OrderOrResponse:
    order, is_new = Orders(session).get_or_create_pending(user_id=buyer.user_id, quote=quote, at=utc_now())
    # Check ownership after opening the order: that waits for a concurrent payment of the same order to commit.
    lock_and_require_not_owned(session, buyer.user_id, quote)
    if order is None:
        raise PaymentInProgress(quote.kind, str(quote.id))
    if coupon:
        redemption = order.redemption
        issued = Coupon.get_by_code_for_update(session, coupon, replaces=redemption.coupon_id if redemption else None)
        quote = quote.discounted(
            issued.discount_on(session, quote, user_id=buyer.user_id, order_id=order.id, at=utc_now())
        )
    if is_new:
        order.apply_quote(quote, at=utc_now())
        record(session, order, order.created_event(buyer.provider))
    if quote.amount_minor == 0 and not order.live_attempt:
        return _fulfil_free_order(session, order, quote)
    if quote.amount_minor:  # a free order gets here only to close its open checkout session
        require_payable(payment_provider, quote.amount_minor, quote.currency, buyer.receipt_email)
    return order, quote


def _order_plan(session: Session, payment_provider: Provider, buyer: Buyer, plan_id: UUID) -> OrderOrResponse:
    plan = Plan.get_on_sale(session, plan_id)
    require_payable(payment_provider, plan.amount_minor, plan.currency, buyer.receipt_email)
    subscription, is_on_trial = open_subscription(session, buyer, plan)
    if is_on_trial:
        return subscription.to_trial_checkout_response()
    return get_or_create_period_order(session, subscription), subscription


def _fulfil_free_order(session: Session, order: Order, quote: PurchaseQuote) -> dict[str, Any]:
    order.apply_quote(quote, at=utc_now())
    for event in order.fulfil_free(at=utc_now()):
        record(session, order, event)
    return free_checkout_response(order)


def _require_allowed_return_url(url: str | None) -> None:
    """Raise ReturnUrlNotAllowed if the origin of ``url`` is not in RETURN_URL_ORIGINS."""
    if url is None or "*" in settings.RETURN_URL_ORIGINS:
        return
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}" not in settings.RETURN_URL_ORIGINS:
        raise ReturnUrlNotAllowed(url)
