"""Checkouts: from "I want this course" to a provider's payment page."""

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

# At most: the page of a lost call is found, it is closed because it has other terms, a new one is opened.
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
    """Open a payment page for a course, a bundle or a plan, or give back the open one.

    What costs nothing is fulfilled at once. Raises AccountErased, NotFound, AlreadyPurchased, AlreadySubscribed,
    PaymentInProgress, ReturnUrlRefused, what ``refuse_unpayable`` raises, PaymentRefused, ProviderUnavailable,
    CheckoutOutcomeUnknown, and why a coupon is refused: CouponUnknown, CouponExpired, CouponUsedUp,
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
            # What is being paid at this moment is not given up any more.
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


# The order and what is paid for; where nothing is to be paid, the answer.
Ordered = tuple[Order, Priced] | dict[str, Any]


def _on_sale(session: Session, course_id: UUID | None, bundle_id: UUID | None) -> Goods:
    if bundle_id:
        return Bundle.of(session, bundle_id).goods(session)
    assert course_id is not None  # the gateway asks for one of them
    return Offer.of(session, course_id).goods


def _order_goods(session: Session, shop: Provider, buyer: Buyer, goods: Goods, coupon: str | None) -> Ordered:
    order, is_new = Order.open(session, user_id=buyer.user_id, goods=goods, at=now())
    # After the order: an order that was being paid has been waited for by then.
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
    if goods.amount_minor:  # otherwise an open page is closed first, and nothing is charged
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
    """Open or fetch the attempt's page, or close it where another one is to take its place."""
    try:
        if attempt.superseded and attempt.page_id:
            return close_page(sessions, providers, attempt)
        return ask_provider(sessions, providers, attempt, order)
    except ProviderOutcomeUnknown as error:
        raise CheckoutOutcomeUnknown(str(order.id)) from error


def _refuse_foreign(url: str | None) -> None:
    """Raises ReturnUrlRefused where a payment page would send the buyer to an origin that is not on the list."""
    if url is None or "*" in settings.RETURN_URL_ORIGINS:
        return
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}" not in settings.RETURN_URL_ORIGINS:
        raise ReturnUrlRefused(url)
