"""Serve the control endpoints of this fake: the hosted page, disputes, refunds, cards and the list of payments."""

from collections.abc import Callable

from flask import Flask, Response, jsonify, request
from werkzeug.wrappers import Response as AnyResponse

from ops.fakes import pages
from ops.fakes.calls import ApiError, Call
from ops.fakes.store import Document, Documents, Store

from . import amounts, checkout, disputes, events, objects, payment_methods, refunds

PAGE_NOTICES = {
    "declined": "The bank declined the card. Try again.",
    "confirm": "The bank asks for your confirmation: press Pay to confirm.",
}


def add_to(app: Flask, store: Store) -> None:
    def show_page(payable_id: str) -> str | tuple[str, int]:
        with store.transaction() as db:
            payable = db.get(payable_id)
            if payable is None or payable["object"] not in ("checkout.session", "payment_intent"):
                return "There is no such payment.", 404
            return _page(payable)

    def pay(payable_id: str) -> AnyResponse:
        with store.transaction() as db:
            call = _call(db)
            payable = db.get(payable_id)
            if payable is None:
                return pages.redirect_or_json({"error": "no such payment"}, location=None, status=404)
            by_session = payable["object"] == "checkout.session"
            try:
                paid = checkout.pay(call, payable) if by_session else checkout.confirm_by_buyer(call, payable)
            except ApiError as refusal:
                return pages.redirect_or_json(refusal.body, location=None, status=refusal.status)
        return pages.redirect_or_json(paid.document, location=paid.location, status=paid.status)

    def state() -> Document:
        with store.transaction() as db:
            return {"payments": _payments(db), "refunds": _refunds(db)}

    def control(rule: str, act: Callable[[Call, str], Document]) -> None:
        def serve(object_id: str) -> tuple[Response, int]:
            try:
                with store.transaction() as db:
                    return jsonify(objects.public_view(act(_call(db), object_id))), 200
            except ApiError as refusal:
                return jsonify(refusal.body), refusal.status

        app.add_url_rule(f"{rule}/<object_id>", rule, serve, methods=["POST"])

    app.add_url_rule("/__pay/<payable_id>", "page", show_page, methods=["GET"])
    app.add_url_rule("/__pay/<payable_id>", "pay", pay, methods=["POST"])
    app.add_url_rule("/__state", view_func=state, methods=["GET"])
    control("/__events", events.emit_foreign_event)
    control("/__dispute", disputes.control)
    control("/__refund", refunds.finish)
    control(
        "/__methods",
        lambda call, method_id: payment_methods.change_card(call, method_id, str(call.message.get("card"))),
    )


def _call(db: Documents) -> Call:
    return Call(db, pages.submitted(), db.now())


def _page(payable: Document) -> str:
    currency, lines = payable["currency"], payable.get("_line_items", [])
    amount = payable.get("amount_total", payable.get("amount"))
    page = pages.Page(
        provider="Stripe",
        title={"complete": "Paid", "expired": "This page has expired"}.get(payable["status"], "Payment"),
        amount="Save a card" if amount is None else amounts.format_amount(amount, currency),
        payable=payable["status"] in ("open", "requires_action"),
        notice=PAGE_NOTICES.get(request.args.get("notice", "")),
        lines=[(line["description"], amounts.format_amount(line["amount_total"], currency)) for line in lines],
    )
    return pages.show(page)


def _payments(db: Documents) -> list[Document]:
    """Return one row per charge that is captured or authorized, oldest first."""
    rows = []
    for charge in reversed(db.find("charge", status="succeeded")):
        intent = db.get(charge["payment_intent"]) or {}
        if intent["status"] == "canceled":
            continue
        row = {
            "id": intent["id"],
            "order_id": _order_id(db, intent),
            "amount_minor": charge["amount_captured"] if charge["captured"] else charge["amount"],
            "currency": charge["currency"].upper(),
            "status": intent["status"],
            "refunded_minor": charge["amount_refunded"],
        }
        rows.append(row)
    return rows


def _order_id(db: Documents, intent: Document) -> str | None:
    if order_id := intent["metadata"].get("order_id"):
        return str(order_id)
    sessions = db.find("checkout.session", payment_intent=intent["id"])
    return sessions[0]["metadata"].get("order_id") if sessions else None


def _refunds(db: Documents) -> list[Document]:
    return [
        {
            "id": refund["id"],
            "payment_id": refund["payment_intent"],
            "amount_minor": refund["amount"],
            "currency": refund["currency"].upper(),
            "status": refund["status"],
        }
        for refund in reversed(db.find("refund"))
    ]
