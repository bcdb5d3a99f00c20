"""Buy a course, a bundle or a plan: the summary, the way to the provider, and the return from it."""

import secrets
from typing import Any, Literal

from coursebus import errors, models
from flask import Blueprint, abort, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

import settings

from .api import client
from .language import mark
from .security import sign_in_required

blueprint = Blueprint("checkout", __name__)

PROVIDERS = {
    "stripe": (mark("Card"), mark("Visa, Mastercard and others, by Stripe")),
    "yookassa": (mark("YooKassa"), mark("Cards of Russian banks, SBP and wallets")),
}
_KEPT = 10  # checkouts of a session whose return page works
_REFRESH_SECONDS = 3
_DECLINED = {"payment_failed", "payment_canceled"}


@blueprint.get("/checkout")
@sign_in_required
def checkout() -> str:
    """Show what is bought, the coupon field and the providers."""
    kind, item = _item(request.args)
    return render_template(
        "checkout.html",
        kind=kind,
        item=item,
        providers={name: PROVIDERS[name] for name in _providers(item.price.currency)},
        key=secrets.token_urlsafe(16),  # a second click on the button is the same purchase
        coupon=request.args.get("coupon", ""),
    )


@blueprint.post("/checkout")
@sign_in_required
def pay() -> ResponseReturnValue:
    """Create the checkout and lead to the provider's page."""
    kind, item = _item(request.form)
    reference = secrets.token_urlsafe(12)
    returning = f"{settings.WEB_URL}{url_for('checkout.returned', reference=reference)}"
    fields: dict[str, Any] = {f"{kind}_id": item.id, "provider": request.form.get("provider", "")}
    if coupon := request.form.get("coupon", "").strip():
        fields["coupon"] = coupon
    body = models.CheckoutRequest(success_url=returning, cancel_url=returning, **fields)
    created = client().create_checkout(body, idempotency_key=request.form.get("key") or None)
    session["checkouts"] = dict([*session.get("checkouts", {}).items(), (reference, _kept(created))][-_KEPT:])
    if created.redirect_url is None:  # paid in full by the coupon
        return redirect(url_for("checkout.returned", reference=reference), 303)
    # Not a redirect: the browser applies the policy's form-action to it, and a provider may use any host.
    page = make_response(render_template("to_payment.html", url=created.redirect_url))
    page.headers["Refresh"] = f"0; url={created.redirect_url}"
    return page


def _kept(created: models.Checkout) -> list[str | None]:
    return [created.id, created.order_id]


@blueprint.get("/checkout/return/<reference>")
@sign_in_required
def returned(reference: str) -> ResponseReturnValue:
    """Say what has happened to the payment; refresh while it is not known."""
    known = session.get("checkouts", {}).get(reference)
    if known is None:  # another session
        return redirect(url_for("orders.orders"), 303)
    checkout_id, order_id = known
    order = _synced(checkout_id, order_id)
    if order is None:
        return redirect(url_for("orders.subscriptions"), 303)  # a plan whose trial has begun has no order
    state = _state(order)
    course_ids = [each.course_id for each in order.courses]
    is_open = state == "paid" and all(client().get_own_access(each).access for each in course_ids)
    page = make_response(render_template("returned.html", order=order, state=state, is_open=is_open))
    if state == "pending" or (state == "paid" and not is_open):
        page.headers["Refresh"] = str(_REFRESH_SECONDS)
    return page


def _synced(checkout_id: str, order_id: str | None) -> models.Order | None:
    """Return the order after the payment's state was fetched from the provider, if the provider answers."""
    try:
        return client().sync_checkout(checkout_id)
    except (errors.Conflict, errors.NotFound, errors.Unavailable, errors.OutcomeUnknown):
        return client().get_order(order_id) if order_id else None


def _state(order: models.Order) -> Literal["paid", "declined", "pending", "closed"]:
    if order.status in {"paid", "partially_refunded"}:
        return "paid"
    if order.status != "pending":
        return "closed"
    payments = [each.step for each in client().list_order_history(order.id) if each.step.startswith("payment_")]
    return "declined" if payments and payments[-1] in _DECLINED else "pending"


Item = models.Course | models.Bundle | models.Plan


def _item(given: Any) -> tuple[str, Item]:
    """Return the kind and the object that the parameters name."""
    if given.get("course"):
        return "course", client().get_course(given["course"])
    if given.get("bundle"):
        return "bundle", client().get_bundle(given["bundle"])
    if not given.get("plan"):
        abort(404)
    return "plan", client().get_plan(given["plan"])


def _providers(currency: str) -> tuple[str, ...]:
    """Return the providers for a currency: YooKassa takes roubles only, and comes first for them."""
    offered = settings.WEB_PAYMENT_PROVIDERS if currency == "RUB" else ("stripe",)
    return tuple(sorted(offered, reverse=True))
