"""Implement charges: one per attempt to charge a card."""

from typing import Any

from ops.fakes.calls import Call
from ops.fakes.store import Document
from ops.fakes.stripe.api import StripeApi

from . import forms, objects, payment_methods


def routes(api: StripeApi) -> None:
    api.route("GET", "/v1/charges", listed)
    api.route("GET", "/v1/charges/<charge_id>", lambda call, charge_id: objects.get_or_404(call, "charge", charge_id))
    api.route("POST", "/v1/charges/<charge_id>", update)


def listed(call: Call) -> Document:
    charges = call.db.find("charge", **objects.filters(call, ("payment_intent", "customer")))
    return objects.page(call, charges, "/v1/charges")


def update(call: Call, charge_id: str) -> Document:
    charge = objects.get_or_404(call, "charge", charge_id)
    charge["metadata"] = forms.metadata(call.message, charge["metadata"])
    return objects.save(call, charge)


def create_succeeded(call: Call, intent: Document, method: Document, *, captured: bool) -> Document:
    """Charge the intent's amount, or only authorize it unless ``captured``."""
    taken: Document = {
        "amount_captured": intent["amount"] if captured else 0,
        "balance_transaction": objects.new_id("txn") if captured else None,
        "captured": captured,
        "paid": True,
        "status": "succeeded",
        "outcome": _outcome("authorized", "approved_by_network", "Payment complete."),
    }
    charge = objects.save(call, _new(call, intent, method, **taken))
    objects.emit(call, "charge.succeeded", charge)
    return charge


def create_failed(call: Call, intent: Document, method: Document, card: payment_methods.Card, *, code: str) -> Document:
    failed: Document = {
        "paid": False,
        "status": "failed",
        "failure_code": code,
        "failure_message": card.message,
        "outcome": _outcome("issuer_declined", "declined_by_network", card.message),
    }
    charge = objects.save(call, _new(call, intent, method, **failed))
    objects.emit(call, "charge.failed", charge)
    return charge


def capture(call: Call, charge: Document, amount_minor: int) -> None:
    """Capture ``amount_minor`` of an authorized charge and release the rest."""
    charge |= {"amount_captured": amount_minor, "captured": True, "balance_transaction": objects.new_id("txn")}
    objects.save(call, charge)
    objects.emit(call, "charge.captured", charge)


def _new(call: Call, intent: Document, method: Document, **fields: Any) -> Document:
    card = method["card"]
    copied = {name: intent[name] for name in ("amount", "currency", "customer", "description", "receipt_email")}
    blank: Document = {
        "amount_captured": 0,
        "amount_refunded": 0,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "captured": False,
        "disputed": False,
        "failure_code": None,
        "failure_message": None,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {
            "card": {name: card[name] for name in ("brand", "country", "exp_month", "exp_year", "funding", "last4")},
            "type": "card",
        },
        "receipt_url": None,
        "refunded": False,
        "metadata": intent["metadata"],
    }
    return objects.new(call, "charge", "ch", **(copied | blank | fields))


def _outcome(kind: str, network_status: str, message: str) -> Document:
    return {"type": kind, "network_status": network_status, "reason": None, "seller_message": message}
