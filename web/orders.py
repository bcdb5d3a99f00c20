"""Orders, invoices and subscriptions of the person who is signed in."""

from coursebus import errors
from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from .api import client
from .language import _, current_language, mark
from .security import sign_in_required

blueprint = Blueprint("orders", __name__)

ORDER_STATES = {
    "pending": mark("Waiting for the payment"),
    "paid": mark("Paid"),
    "partially_refunded": mark("Partly refunded"),
    "refunded": mark("Refunded"),
    "disputed": mark("Disputed"),
    "charged_back": mark("Charged back"),
    "expired": mark("Not paid in time"),
    "canceled": mark("Canceled"),
}
SUBSCRIPTION_STATES = {
    "incomplete": mark("Waiting for the payment"),
    "trialing": mark("Free trial"),
    "active": mark("Active"),
    "past_due": mark("Payment overdue"),
    "canceled": mark("Canceled"),
    "expired": mark("Ended"),
}
_INVOICED = {"paid", "partially_refunded", "refunded", "disputed", "charged_back"}


@blueprint.get("/orders")
@sign_in_required
def orders() -> str:
    """List the orders, the newest first."""
    found = client().list_own_orders(limit=20).page(request.args.get("cursor"))
    return render_template("orders.html", found=found, states=ORDER_STATES)


@blueprint.get("/orders/<order_id>")
@sign_in_required
def order(order_id: str) -> str:
    """Show an order with its refunds."""
    return render_template(
        "order.html",
        order=(shown := client().get_order(order_id)),
        refunds=[*client().list_order_refunds(order_id)] if shown.paid_at else [],
        states=ORDER_STATES,
        has_invoice=shown.status in _INVOICED,
    )


@blueprint.get("/orders/<order_id>/invoice")
@sign_in_required
def invoice(order_id: str) -> str:
    """Show the invoice of a paid order, to print."""
    return render_template("invoice.html", invoice=client().get_invoice(order_id))


@blueprint.get("/orders/<order_id>/invoice.pdf")
@sign_in_required
def invoice_document(order_id: str) -> ResponseReturnValue:
    """Return the invoice of a paid order as PDF, in the language of the pages."""
    document = client().download_invoice(order_id, language=current_language())
    headers = {"Content-Disposition": f'attachment; filename="invoice-{order_id}.pdf"'}
    return Response(document, content_type="application/pdf", headers=headers)


@blueprint.post("/orders/<order_id>/cancel")
@sign_in_required
def cancel_order(order_id: str) -> ResponseReturnValue:
    """Cancel an unpaid order."""
    client().cancel_order(order_id)
    flash(_("The order was canceled."))
    return redirect(url_for("orders.order", order_id=order_id), 303)


@blueprint.get("/subscriptions")
@sign_in_required
def subscriptions() -> str:
    """List the subscriptions."""
    return render_template(
        "subscriptions.html", subscriptions=[*client().list_own_subscriptions()], states=SUBSCRIPTION_STATES
    )


@blueprint.route("/subscriptions/<subscription_id>/cancel", methods=["GET", "POST"])
@sign_in_required
def cancel_subscription(subscription_id: str) -> ResponseReturnValue:
    """Ask once, then cancel a subscription at the end of its period."""
    if request.method == "GET":
        shown = client().get_subscription(subscription_id)
        return render_template(
            "confirm.html",
            title=_("Cancel the subscription?"),
            text=_("You keep access until the end of the paid period. No further payment is taken."),
            subject=shown.plan_name,
            button=_("Cancel subscription"),
            back=url_for("orders.subscriptions"),
        )
    try:
        client().cancel_subscription(subscription_id)
    except errors.Conflict as error:
        flash(error.detail, "problem")
    else:
        flash(_("The subscription ends with its current period."))
    return redirect(url_for("orders.subscriptions"), 303)
