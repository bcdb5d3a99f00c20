"""Orders with their timeline, refunds, and payments that wait for a decision."""

from decimal import Decimal, InvalidOperation
from typing import Any, cast
from uuid import uuid4

from coursebus import models
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from core.money import decimal_places
from web.api import client
from web.language import _, mark

from .blueprint import MONEY, Field, ask, blueprint, done, optional, page_of, staff_only

_ADMIN = "payments:admin"
_RESOLVED = {
    "payments": mark("Resolve the payment?"),
    "refunds": mark("Resolve the refund?"),
    "disputes": mark("Resolve the dispute?"),
}


@blueprint.get("/orders")
@staff_only(*MONEY)
def find_order() -> ResponseReturnValue:
    """Open the order with the given number."""
    return redirect(url_for("console.order", order_id=request.args.get("id", "").strip() or "none"), 303)


@blueprint.get("/orders/<order_id>")
@staff_only(*MONEY)
def order(order_id: str) -> str:
    """Show an order with its timeline, payments, refunds, disputes and ledger entries."""
    api = client()
    return render_template(
        "console/order.html",
        order=api.get_order(order_id),
        history=[*api.list_order_history(order_id, limit=100)],
        payments=[*api.list_payments(order_id=order_id)],
        refunds=[*api.list_order_refunds(order_id)],
        disputes=[*api.list_disputes(order_id=order_id)],
        entries=optional(api.list_ledger_entries(order_id=order_id, limit=50).page),
        audit=optional(api.list_audit_entries(subject_id=order_id, kind="change", limit=20).page),
    )


@blueprint.route("/orders/<order_id>/refund", methods=["GET", "POST"])
@staff_only("payments:refund")
def refund(order_id: str) -> ResponseReturnValue:
    """Refund an order fully or in part."""
    back = url_for("console.order", order_id=order_id)
    shown = client().get_order(order_id)
    if request.method == "POST":
        amount = _minor(request.form.get("amount", ""), shown.currency)
        body = models.RefundRequest(
            reason=request.form.get("reason", ""),
            amount_minor=amount,
            keeps_access=request.form.get("access") == "keep",
        )
        client().create_refund(order_id, body, idempotency_key=request.form.get("key") or None)
        return done(_("The refund was started."), back)
    fields = [
        Field("reason", _("Reason")),
        Field(
            "amount",
            _("Amount in %(currency)s; empty: everything that is left") % {"currency": shown.currency},
            required=False,
        ),
        Field("access", _("Access"), options={"end": _("end access"), "keep": _("keep access")}),
        _key(),
    ]
    text = _("The money goes back to the buyer's payment method. This cannot be undone.")
    return ask(
        _("Refund this order?"), shown.course_title, text=text, button=_("Refund the money"), back=back, fields=fields
    )


def _minor(text: str, currency: str) -> int | None:
    """Return an amount that was typed in major units as minor units."""
    try:
        return int(Decimal(text.strip().replace(",", ".")).scaleb(decimal_places(currency)))
    except InvalidOperation:
        return None


def _key() -> Field:
    return Field("key", "", uuid4().hex, type="hidden")


@blueprint.get("/reviews")
@staff_only(*MONEY)
def reviews() -> str:
    """List payments, refunds and disputes that wait for a decision, and open disputes."""
    api = client()
    return render_template(
        "console/reviews.html",
        payments=page_of(api.list_payments(status="review", limit=50)).items,
        refunds=page_of(api.list_refunds(status="review", limit=50)).items,
        disputes=[*page_of(api.list_disputes(status="review")).items, *page_of(api.list_disputes(status="open")).items],
    )


@blueprint.route("/<any(payments, refunds, disputes):kind>/<object_id>/resolve", methods=["GET", "POST"])
@staff_only(_ADMIN)
def resolve(kind: str, object_id: str) -> ResponseReturnValue:
    """Decide on a payment, refund or dispute in review."""
    back = url_for("console.reviews")
    if request.method == "POST":
        action = cast("Any", request.form.get("action", ""))
        note = request.form.get("note", "")
        if kind == "payments":
            client().resolve_payment(object_id, models.PaymentResolution(action=action, note=note))
        elif kind == "refunds":
            client().resolve_refund(object_id, models.RefundResolution(action=action, note=note))
        else:
            client().resolve_dispute(object_id, models.DisputeResolution(action=action, note=note))
        return done(_("The decision was recorded."), back)
    actions = {
        "accept": _("accept: the money belongs to the order"),
        "release": _("release: the order does not get the money"),
    }
    if kind == "payments":
        actions["refund"] = _("refund: the money goes back")
    fields = [Field("action", _("Decision"), options=actions), Field("note", _("Note, kept with the decision"))]
    return ask(_(_RESOLVED[kind]), object_id, text="", button=_("Record the decision"), back=back, fields=fields)
