"""Serve the control endpoints of this fake: the hosted page, refunds, saved cards and the list of payments."""

from flask import Flask, Response, jsonify, request
from werkzeug.wrappers import Response as AnyResponse

from ops.fakes import pages
from ops.fakes.calls import ApiError, Call
from ops.fakes.store import Document, Documents, Store

from . import errors, objects, payments, refunds

OUTCOMES = ("succeed", "decline", "requires_action", "abandon")
CAPTURED_OR_AUTHORIZED = ("succeeded", "waiting_for_capture")
PAGE_NOTICES = {"confirm": "The bank asks for your confirmation: press Pay to confirm."}


def add_to(app: Flask, store: Store) -> None:
    def show_page(payment_id: str) -> str | tuple[str, int]:
        with store.transaction() as db:
            payment = db.get(payment_id, "payment")
        return _page(payment) if payment else ("There is no such payment.", 404)

    def pay(payment_id: str) -> AnyResponse:
        with store.transaction() as db:
            payment = db.get(payment_id, "payment")
            if payment is None:
                return pages.redirect_or_json({"error": "no such payment"}, location=None, status=404)
            return _pay(_call(db), payment)

    def finish_refund(refund_id: str) -> tuple[Response, int]:
        try:
            with store.transaction() as db:
                return jsonify(objects.public_view(refunds.finish(_call(db), refund_id))), 200
        except ApiError as refusal:
            return jsonify(refusal.body), refusal.status

    def change_method(method_id: str) -> tuple[Response, int]:
        """Make a saved card decline with the reason ``declines``; null makes it succeed again."""
        with store.transaction() as db:
            payment = db.get(method_id, "payment")
            if payment is None:
                return jsonify(errors.missing("Method", "method_id").body), 404
            payment["_declines"] = pages.submitted().get("declines")
            return jsonify(objects.public_view(db.save("payment", payment))), 200

    def state() -> Document:
        with store.transaction() as db:
            return {"payments": _payments(db), "refunds": _refunds(db)}

    app.add_url_rule("/__pay/<payment_id>", "page", show_page, methods=["GET"])
    app.add_url_rule("/__pay/<payment_id>", "pay", pay, methods=["POST"])
    app.add_url_rule("/__refund/<refund_id>", view_func=finish_refund, methods=["POST"])
    app.add_url_rule("/__methods/<method_id>", view_func=change_method, methods=["POST"])
    app.add_url_rule("/__state", view_func=state, methods=["GET"])


def _call(db: Documents) -> Call:
    return Call(db, pages.submitted(), db.now())


def _page(payment: Document) -> str:
    page = pages.Page(
        provider="YooKassa",
        title=payment["description"] or "Payment",
        amount=f"{payment['amount']['value']} RUB",
        payable=payment["status"] == "pending",
        notice=PAGE_NOTICES.get(request.args.get("notice", "")),
    )
    return pages.show(page)


def _pay(call: Call, payment: Document) -> AnyResponse:
    """Apply the outcome of the page. A payment can be paid once; later requests get 409."""
    outcome = call.message.get("outcome")
    if outcome not in OUTCOMES:
        return pages.redirect_or_json(
            {"error": f"outcome must be one of {', '.join(OUTCOMES)}"}, location=None, status=400
        )
    if payment["status"] != "pending":
        summary = _summary(payment) | {"error": f"the payment is {payment['status']}"}
        return pages.redirect_or_json(summary, location=payment["_return_url"], status=409)
    if outcome == "requires_action":
        return pages.redirect_or_json(_summary(payment), location=f"/__pay/{payment['id']}?notice=confirm")
    if outcome == "succeed":
        payment = payments.pay_by_card(call, payment)
    if outcome == "decline":
        payment = payments.cancel_payment(call, payment, party="payment_network", reason="insufficient_funds")
    return pages.redirect_or_json(_summary(payment), location=payment["_return_url"])


def _summary(payment: Document) -> Document:
    return {name: payment[name] for name in ("id", "status", "paid")}


def _payments(db: Documents) -> list[Document]:
    """Return one row per payment that is captured or authorized, oldest first."""
    return [
        {
            "id": payment["id"],
            "order_id": payment["metadata"].get("order_id"),
            "amount_minor": payment["_amount_minor"],
            "currency": payment["amount"]["currency"],
            "status": payment["status"],
            "refunded_minor": payment["_refunded_minor"],
        }
        for payment in reversed(db.find("payment"))
        if payment["status"] in CAPTURED_OR_AUTHORIZED
    ]


def _refunds(db: Documents) -> list[Document]:
    return [
        {
            "id": refund["id"],
            "payment_id": refund["payment_id"],
            "amount_minor": refund["_amount_minor"],
            "currency": refund["amount"]["currency"],
            "status": refund["status"],
        }
        for refund in reversed(db.find("refund"))
    ]
