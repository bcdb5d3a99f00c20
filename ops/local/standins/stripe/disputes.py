"""Disputes: opened and closed by ``POST /__dispute/{payment intent}``, looked at through the API."""

from ops.local.standins.calls import Call
from ops.local.standins.store import Document
from ops.local.standins.stripe import errors, forms, objects
from ops.local.standins.stripe.api import StripeApi

REPLY_SECONDS = 7 * 24 * 3600
CLOSED = ("won", "lost")


def routes(api: StripeApi) -> None:
    api.route("GET", "/v1/disputes", listed)
    api.route("GET", "/v1/disputes/<dispute_id>", lambda call, dispute_id: objects.named(call, "dispute", dispute_id))
    api.route("POST", "/v1/disputes/<dispute_id>", update)
    api.route("POST", "/v1/disputes/<dispute_id>/close", give_in)


def listed(call: Call) -> Document:
    names = [name for name in ("payment_intent", "charge") if name in call.message]
    disputes = call.db.find("dispute", **{name: call.message[name] for name in names})
    return objects.page(call, disputes, "/v1/disputes")


def update(call: Call, dispute_id: str) -> Document:
    dispute = objects.named(call, "dispute", dispute_id)
    dispute["evidence"] |= call.message.get("evidence") or {}
    dispute["metadata"] = forms.metadata(call.message, dispute["metadata"])
    if forms.flag(call.message, "submit", default=True):
        dispute["status"] = "under_review"
    objects.emit(call, "charge.dispute.updated", dispute)
    return objects.save(call, dispute)


def give_in(call: Call, dispute_id: str) -> Document:
    dispute = objects.named(call, "dispute", dispute_id)
    if dispute["status"] in CLOSED:
        raise errors.invalid(f"This dispute is already closed: {dispute['status']}.", "dispute")
    return _closed(call, dispute, "lost")


def by_buyer(call: Call, intent_id: str) -> Document:
    """Open a dispute (``reason``, ``amount``), or end the open one (``outcome`` "won" or "lost", the shop's view)."""
    intent = objects.named(call, "payment_intent", intent_id)
    if call.message.get("outcome"):
        outcome = forms.one_of(call.message, "outcome", CLOSED)
        for dispute in call.db.find("dispute", payment_intent=intent_id):
            if dispute["status"] not in CLOSED:
                return _closed(call, dispute, outcome)
        raise errors.missing("dispute", intent_id)
    return _opened(call, intent)


def _opened(call: Call, intent: Document) -> Document:
    charge = call.db.get(intent["latest_charge"] or "", "charge")
    if charge is None or not charge["captured"] or charge["disputed"]:
        raise errors.invalid("There is no captured charge, or it is disputed already.", "payment_intent")
    dispute = objects.new(
        call,
        "dispute",
        "du",
        amount=forms.positive(call.message, "amount", charge["amount_captured"]),
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        evidence={},
        evidence_details={"due_by": int(call.now) + REPLY_SECONDS, "has_evidence": False, "past_due": False},
        is_charge_refundable=False,
        payment_intent=intent["id"],
        reason=call.message.get("reason", "fraudulent"),
        status="needs_response",
    )
    objects.save(call, dispute)
    objects.save(call, charge | {"disputed": True})
    objects.emit(call, "charge.dispute.created", dispute)
    objects.emit(call, "charge.dispute.funds_withdrawn", dispute)
    return dispute


def _closed(call: Call, dispute: Document, outcome: str) -> Document:
    dispute["status"] = outcome
    objects.save(call, dispute)
    if outcome == "won":
        objects.emit(call, "charge.dispute.funds_reinstated", dispute)
    objects.emit(call, "charge.dispute.closed", dispute)
    return dispute
