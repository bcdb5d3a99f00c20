"""Start checkouts: create the order and open a checkout session at the payment provider."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from models.base import now
from models.errors import (
    CheckoutOutcomeUnknown,
    PaymentInProgress,
    ProviderOutcomeUnknown,
    ReturnUrlRefused,
)
from models.faults import reach
from models.outbox import record
from models.payments import Attempt, Bundle, Coupon, Goods, Offer, Order, Plan, Snapshot, Terms
from models.payments.order_views import free_checkout_view
from models.payments.orders import Priced
from models.payments.ownership import refuse_erased, refuse_owned_goods
from workers import task
from workers._delivery import Sessions

from .provider import Provider, Providers, refuse_unpayable
from .subscriptions import Buyer, open_subscription, order_period
from .sync import apply_snapshot, ask_provider, close_page

# Enough for the longest case: find the checkout session of a call whose response was lost, close that session because
# its terms differ, open a new one.
ROUNDS = 3


@task
def start_checkout(
    sessions: Sessions,
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
    AlreadySubscribed, PaymentInProgress, ReturnUrlRefused, the errors of ``refuse_unpayable``, PaymentRefused,
    ProviderUnavailable, CheckoutOutcomeUnknown, and for coupons: CouponUnknown, CouponExpired, CouponUsedUp,
    CouponNotApplicable, CouponCurrencyMismatch.
    """
    for url in (success_url, cancel_url):
        _refuse_foreign(url)
    shop, buyer = providers[provider], Buyer(user_id, provider, receipt_email)
    for _ in range(ROUNDS):
        with sessions.begin() as session:
            refuse_erased(session, user_id)
            ordered = (
                _order_plan(session, shop, buyer, plan_id)
                if plan_id
                else _order_goods(session, shop, buyer, _on_sale(session, course_id, bundle_id), coupon)
            )
            if isinstance(ordered, dict):
                return sessions.answer(session, ordered)
            order, goods = ordered
            terms = Terms(
                provider=provider,
                account=shop.account,
                live_mode=shop.live_mode,
                amount_minor=goods.amount_minor,
                currency=goods.currency,
                success_url=success_url or settings.CHECKOUT_RETURN_URL,
                cancel_url=cancel_url,
                receipt_email=receipt_email if shop.wants_receipt_email else None,
                saves_method=plan_id is not None,
            )
            attempt = order.live_attempt or order.begin(goods, terms, open_for=shop.page_open_for, at=now())
            # Do not supersede an attempt that the provider is processing: its payment may still succeed.
            attempt.superseded = attempt.terms != terms and not attempt.is_out_of_hand
        reach("after the attempt's commit")
        snapshot = page_of(sessions, providers, attempt, order)
        reach("after the provider's answer")
        with sessions.begin() as session:
            order = apply_snapshot(session, attempt, snapshot)
            reach("before the outcome's commit")
            attempt = order.attempt(attempt.id)
            if attempt.is_payable_on(terms):
                return sessions.answer(session, attempt.checkout_view())
        if attempt.is_out_of_hand:
            break
    raise PaymentInProgress("order", str(order.id))


# The order and the priced item; or the response of the task if nothing has to be paid.
Ordered = tuple[Order, Priced] | dict[str, Any]


def _on_sale(session: Session, course_id: UUID | None, bundle_id: UUID | None) -> Goods:
    if bundle_id:
        return Bundle.of(session, bundle_id).goods(session)
    assert course_id is not None  # the gateway requires one of the two
    return Offer.of(session, course_id).goods


def _order_goods(session: Session, shop: Provider, buyer: Buyer, goods: Goods, coupon: str | None) -> Ordered:
    order, is_new = Order.open(session, user_id=buyer.user_id, goods=goods, at=now())
    # Check ownership after opening the order: that waits for a concurrent payment of the same order to commit.
    refuse_owned_goods(session, buyer.user_id, goods)
    if order is None:
        raise PaymentInProgress(goods.kind, str(goods.id))
    if coupon:
        held = order.redemption
        issued = Coupon.locked(session, coupon, replaces=held.coupon_id if held else None)
        goods = goods.less(issued.discount_on(session, goods, user_id=buyer.user_id, order_id=order.id, at=now()))
    if is_new:
        order.quote(goods, at=now())
        record(session, order, order.created(buyer.provider))
    if goods.amount_minor == 0 and not order.live_attempt:
        return _give_away(session, order, goods)
    if goods.amount_minor:  # a free order gets here only to close its open checkout session
        refuse_unpayable(shop, goods.amount_minor, goods.currency, buyer.receipt_email)
    return order, goods


def _order_plan(session: Session, shop: Provider, buyer: Buyer, plan_id: UUID) -> Ordered:
    plan = Plan.offered(session, plan_id)
    refuse_unpayable(shop, plan.amount_minor, plan.currency, buyer.receipt_email)
    subscription, is_on_trial = open_subscription(session, buyer, plan)
    if is_on_trial:
        return subscription.trial_checkout_view()
    return order_period(session, subscription), subscription


def _give_away(session: Session, order: Order, goods: Goods) -> dict[str, Any]:
    order.quote(goods, at=now())
    for event in order.give_away(at=now()):
        record(session, order, event)
    return free_checkout_view(order)


def page_of(sessions: Sessions, providers: Providers, attempt: Attempt, order: Order) -> Snapshot:
    """Open or fetch the checkout session of an attempt; close it if the attempt is superseded.

    No transaction may be open. Raises PaymentRefused, ProviderUnavailable, CheckoutOutcomeUnknown.
    """
    try:
        if attempt.superseded and attempt.page_id:
            return close_page(sessions, providers, attempt)
        return ask_provider(sessions, providers, attempt, order)
    except ProviderOutcomeUnknown as error:
        raise CheckoutOutcomeUnknown(str(order.id)) from error


def _refuse_foreign(url: str | None) -> None:
    """Raise ReturnUrlRefused if the origin of ``url`` is not in RETURN_URL_ORIGINS."""
    if url is None or "*" in settings.RETURN_URL_ORIGINS:
        return
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}" not in settings.RETURN_URL_ORIGINS:
        raise ReturnUrlRefused(url)
