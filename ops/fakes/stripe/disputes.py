"""Implement disputes: ``POST /__dispute/{payment intent}`` opens and closes them, the API returns them."""

from ops.fakes.calls import Call
from ops.fakes.store import Document
from ops.fakes.stripe.api import StripeApi

from . import errors, forms, objects

EVIDENCE_SECONDS = 7 * 24 * 3600
CLOSED = ("won", "lost")


def routes(api: StripeApi) -> None:
    api.route("GET", "/v1/disputes", listed)
    api.route(
        "GET", "/v1/disputes/<dispute_id>", lambda call, dispute_id: objects.get_or_404(call, "dispute", dispute_id)
    )
    api.route("POST", "/v1/disputes/<dispute_id>", update)
    api.route("POST", "/v1/disputes/<dispute_id>/close", accept)


def is_inquiry(dispute: Document) -> bool:
    return str(dispute["status"]).startswith("warning_")


def is_open(dispute: Document) -> bool:
    return dispute["status"] not in (*CLOSED, "warning_closed")


def listed(call: Call) -> Document:
    disputes = call.db.find("dispute", **objects.filters(call, ("payment_intent", "charge")))
    return objects.page(call, disputes, "/v1/disputes")


def update(call: Call, dispute_id: str) -> Document:
    dispute = objects.get_or_404(call, "dispute", dispute_id)
    dispute["evidence"] |= call.message.get("evidence") or {}
    dispute["metadata"] = forms.metadata(call.message, dispute["metadata"])
    if forms.flag(call.message, "submit", default=True):
        dispute["status"] = "under_review"
    objects.emit(call, "charge.dispute.updated", dispute)
    return objects.save(call, dispute)


def accept(call: Call, dispute_id: str) -> Document:
    dispute = objects.get_or_404(call, "dispute", dispute_id)
    if dispute["status"] in CLOSED:
        raise errors.invalid(f"This dispute is already closed: {dispute['status']}.", "dispute")
    return _close(call, dispute, "lost")


def control(call: Call, intent_id: str) -> Document:
    """Open a dispute (``reason``, ``amount``) or close the open one (``outcome`` "won" or "lost", from the shop's
    view).

    With ``inquiry`` the bank only inquires; an inquiry is closed as "won" or becomes a dispute ("escalated").
    """
    intent = objects.get_or_404(call, "payment_intent", intent_id)
    if call.message.get("outcome"):
        outcome = forms.one_of(call.message, "outcome", (*CLOSED, "escalated"))
        for dispute in call.db.find("dispute", payment_intent=intent_id):
            if is_open(dispute) and outcome == "escalated":
                return _withdraw_funds(call, dispute | {"status": "needs_response"}, "charge.dispute.updated")
            if is_open(dispute):
                return _close(call, dispute, outcome)
        raise errors.missing("dispute", intent_id)
    return _open(call, intent)


def _open(call: Call, intent: Document) -> Document:
    charge = call.db.get(intent["latest_charge"] or "", "charge")
    disputes = call.db.find("dispute", payment_intent=intent["id"])
    if charge is None or not charge["captured"] or any(map(is_open, disputes)):
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
        evidence_details={"due_by": int(call.now) + EVIDENCE_SECONDS, "has_evidence": False, "past_due": False},
        is_charge_refundable=False,
        payment_intent=intent["id"],
        reason=call.message.get("reason", "fraudulent"),
        status="warning_needs_response" if forms.flag(call.message, "inquiry") else "needs_response",
    )
    objects.save(call, charge | {"disputed": True})
    if is_inquiry(dispute):
        objects.emit(call, "charge.dispute.created", dispute)
        return objects.save(call, dispute | {"is_charge_refundable": True})
    return _withdraw_funds(call, dispute, "charge.dispute.created")


def _withdraw_funds(call: Call, dispute: Document, event_type: str) -> Document:
    """Withdraw the disputed amount until the bank has decided."""
    dispute["is_charge_refundable"] = False
    objects.save(call, dispute)
    objects.emit(call, event_type, dispute)
    objects.emit(call, "charge.dispute.funds_withdrawn", dispute)
    return dispute


def _close(call: Call, dispute: Document, outcome: str) -> Document:
    asked_only = is_inquiry(dispute)
    dispute |= {"status": "warning_closed" if asked_only else outcome, "is_charge_refundable": outcome == "won"}
    objects.save(call, dispute)
    if outcome == "won" and not asked_only:
        objects.emit(call, "charge.dispute.funds_reinstated", dispute)
    objects.emit(call, "charge.dispute.closed", dispute)
    return dispute
