"""Implement refunds, which never exceed the captured amount."""

from ops.fakes import faults
from ops.fakes.calls import Call
from ops.fakes.store import Document
from ops.fakes.stripe.api import StripeApi

from . import amounts, errors, forms, objects, supported_params

REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def routes(api: StripeApi) -> None:
    api.route("POST", "/v1/refunds", create)
    api.route("GET", "/v1/refunds", listed)
    api.route("GET", "/v1/refunds/<refund_id>", lambda call, refund_id: objects.get_or_404(call, "refund", refund_id))
    api.route("POST", "/v1/refunds/<refund_id>", update)


def create(call: Call) -> Document:
    forms.require_known_fields(call.message, supported_params.REFUND)
    charge = _charge(call)
    left = _refundable_minor(call, charge)
    amount = forms.positive(call.message, "amount", left)
    if amount > left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise errors.invalid(message, "amount")
    amounts.check_places(amount, charge["currency"])
    if faults.should_trigger(call.db, "refuse_refunds"):
        raise errors.invalid("Insufficient funds in your Stripe balance to refund this.", None, "balance_insufficient")
    pending = faults.should_trigger(call.db, "pending_refunds")
    refund = objects.new(
        call,
        "refund",
        "re",
        amount=amount,
        balance_transaction=objects.new_id("txn"),
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={"card": {"type": "refund"}, "type": "card"},
        failure_reason=None,
        payment_intent=charge["payment_intent"],
        pending_reason="processing" if pending else None,
        reason=forms.one_of(call.message, "reason", REASONS) if call.message.get("reason") else None,
        receipt_number=None,
        source_transfer_reversal=None,
        status="pending" if pending else "succeeded",
        transfer_reversal=None,
        metadata=forms.metadata(call.message),
    )
    objects.save(call, refund)
    objects.emit(call, "refund.created", refund)
    _add_refunded(call, charge, amount)
    objects.emit(call, "charge.refunded", charge)
    if not pending:
        objects.emit(call, "refund.updated", refund)
    return refund


def _charge(call: Call) -> Document:
    """Return the charge to refund, by its own id or by its intent."""
    if charge_id := call.message.get("charge"):
        return objects.get_or_400(call, "charge", charge_id, "charge")
    intent_id = forms.required(call.message, "payment_intent")
    intent = objects.get_or_400(call, "payment_intent", intent_id, "payment_intent")
    charge = call.db.get(intent["latest_charge"] or "", "charge")
    if charge is None or not charge["paid"]:
        message = f"This PaymentIntent ({intent_id}) does not have a successful charge to refund."
        raise errors.invalid(message, "payment_intent")
    return charge


def _refundable_minor(call: Call, charge: Document) -> int:
    """Return the amount that can still be refunded. Raises ApiError for a charge that cannot be refunded."""
    if not charge["captured"]:
        raise errors.invalid("This charge has not been captured; cancel it instead.", "charge", "charge_not_refundable")
    if charge["refunded"]:
        message = f"Charge {charge['id']} has already been refunded."
        raise errors.invalid(message, "charge", "charge_already_refunded")
    if any(not dispute["is_charge_refundable"] for dispute in call.db.find("dispute", charge=charge["id"])):
        raise errors.invalid(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", None, "charge_disputed"
        )
    return int(charge["amount_captured"] - charge["amount_refunded"])


def _add_refunded(call: Call, charge: Document, amount_minor: int) -> None:
    refunded = charge["amount_refunded"] + amount_minor
    charge |= {"amount_refunded": refunded, "refunded": refunded >= charge["amount_captured"]}
    objects.save(call, charge)


def listed(call: Call) -> Document:
    refunds = call.db.find("refund", **objects.filters(call, ("payment_intent", "charge")))
    return objects.page(call, refunds, "/v1/refunds")


def update(call: Call, refund_id: str) -> Document:
    refund = objects.get_or_404(call, "refund", refund_id)
    refund["metadata"] = forms.metadata(call.message, refund["metadata"])
    objects.emit(call, "refund.updated", refund)
    return objects.save(call, refund)


def finish(call: Call, refund_id: str) -> Document:
    """Finish a pending refund, or reverse a succeeded one: ``outcome`` "succeed" or "fail"."""
    refund = objects.get_or_404(call, "refund", refund_id)
    outcome = forms.one_of(call.message, "outcome", ("succeed", "fail"))
    if refund["status"] == "failed" or (refund["status"] == "succeeded" and outcome == "succeed"):
        return refund
    if outcome == "succeed":
        refund |= {"status": "succeeded", "pending_reason": None}
    else:
        refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card", "pending_reason": None}
        _add_refunded(call, objects.get_or_404(call, "charge", refund["charge"]), -refund["amount"])
    objects.save(call, refund)
    objects.emit(call, "refund.updated", refund)
    if outcome == "fail":
        objects.emit(call, "refund.failed", refund)
    return refund
