"""Implement refunds, which never exceed the captured amount."""

from ops.fakes import faults
from ops.fakes.calls import Call
from ops.fakes.store import Document
from ops.fakes.yookassa.api import YooKassaApi

from . import amounts, errors, objects, receipts

ACCEPTED = {"payment_id", "amount", "description", "receipt", "sources", "deal", "refund_method_data", "metadata"}
LONGEST_DESCRIPTION = 250


def routes(api: YooKassaApi) -> None:
    api.route("POST", "/v3/refunds", create)
    api.route("GET", "/v3/refunds", listed)
    api.route("GET", "/v3/refunds/<refund_id>", lambda call, refund_id: objects.get_or_404(call, "refund", refund_id))


def create(call: Call) -> Document:
    message = call.message
    if unknown := sorted(set(message) - ACCEPTED):
        raise errors.invalid("Unknown parameter.", unknown[0])
    if len(message.get("description") or "") > LONGEST_DESCRIPTION:
        raise errors.invalid("The description is longer than 250 characters.", "description")
    amount_minor = amounts.minor(message.get("amount"), "amount")
    payment = call.db.get(str(message.get("payment_id", "")), "payment")
    if payment is None:
        raise errors.invalid("The payment doesn't exist.", "payment_id")
    if payment["status"] != "succeeded":
        raise errors.invalid(f"The payment is {payment['status']} and cannot be refunded.", "payment_id")
    if amount_minor > payment["_amount_minor"] - payment["_refunded_minor"]:
        raise errors.invalid("The refund amount is greater than what is left of the payment.", "amount")
    receipts.check(message.get("receipt"), amount_minor)
    refund = {
        "id": objects.new_id(),
        "payment_id": payment["id"],
        "status": "pending",
        "amount": amounts.rubles(amount_minor),
        "description": message.get("description"),
        "created_at": objects.timestamp(call.now),
        "metadata": objects.metadata(message) or None,
        "receipt_registration": "pending" if message.get("receipt") else None,
        "_amount_minor": amount_minor,
        "_receipt": message.get("receipt"),
    }
    if faults.should_trigger(call.db, "refuse_refunds"):
        details = {"party": "yoo_money", "reason": "insufficient_funds"}
        return call.db.save("refund", refund | {"status": "canceled", "cancellation_details": details})
    # Pending refunds count too: two of them together must not exceed the captured amount.
    _count(call, payment, amount_minor)
    if faults.should_trigger(call.db, "pending_refunds"):
        return call.db.save("refund", refund)
    return _succeeded(call, refund)


def _count(call: Call, payment: Document, amount_minor: int) -> None:
    refunded_minor = payment["_refunded_minor"] + amount_minor
    payment |= {
        "refunded_amount": amounts.rubles(refunded_minor),
        "refundable": refunded_minor < payment["_amount_minor"],
        "_refunded_minor": refunded_minor,
    }
    call.db.save("payment", payment)


def _succeeded(call: Call, refund: Document) -> Document:
    refund["status"] = "succeeded"
    if refund["_receipt"]:
        of_refund = {"payment_id": refund["payment_id"], "refund_id": refund["id"]}
        refund["receipt_registration"] = receipts.register(call, refund["_receipt"], **of_refund)
    objects.notify(call, "refund.succeeded", refund)
    return call.db.save("refund", refund)


def listed(call: Call) -> Document:
    names = [name for name in ("payment_id", "status") if name in call.message]
    return objects.page(call, call.db.find("refund", **{name: call.message[name] for name in names}))


def finish(call: Call, refund_id: str) -> Document:
    """Finish a pending refund, or reverse a succeeded one: ``outcome`` "succeed" or "fail".

    YooKassa sends no notification for a canceled refund.
    """
    refund = objects.get_or_404(call, "refund", refund_id)
    succeeds = call.message.get("outcome") == "succeed"
    if refund["status"] == "canceled" or (refund["status"] == "succeeded" and succeeds):
        return refund
    if succeeds:
        return _succeeded(call, refund)
    refund |= {"status": "canceled", "cancellation_details": {"party": "yoo_money", "reason": "rejected_by_payee"}}
    _count(call, objects.get_or_404(call, "payment", refund["payment_id"]), -refund["_amount_minor"])
    return call.db.save("refund", refund)
