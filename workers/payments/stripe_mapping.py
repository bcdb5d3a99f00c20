"""Map objects of Stripe's API to provider-neutral types."""

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from models.errors import WebhookMalformed
from models.payments import DisputeSnapshot, RefundSnapshot
from models.payments.disputes import ProviderDisputeStatus
from models.payments.payment_snapshots import ProviderPaymentStatus

from .stripe_amounts import from_stripe

# Other statuses are pending: "requires_action" waits for the buyer, "pending" for the bank.
_REFUND_STATUS: dict[str, Literal["pending", "succeeded", "failed"]] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "failed",
}
# Stripe withdraws the money when a dispute opens and returns it when it is won. Inquiries ("warning_…") withdraw none.
_DISPUTE_STATUS: dict[str, ProviderDisputeStatus] = {
    "warning_needs_response": "inquiry",
    "warning_under_review": "inquiry",
    "warning_closed": "won",
    "prevented": "won",
    "won": "won",
    "lost": "lost",
}


def refund_snapshot(refund: Any) -> RefundSnapshot:
    """Map a refund to a RefundSnapshot."""
    made = refund.to_dict()
    return RefundSnapshot(
        object_id=made["id"],
        status=_REFUND_STATUS.get(made["status"], "pending"),
        amount_minor=from_stripe(made["amount"], made["currency"]),
        currency=made["currency"].upper(),
        refund_id=(made["metadata"] or {}).get("refund_id"),
        failure_reason=made.get("failure_reason"),
    )


def dispute_snapshot(dispute: Any) -> DisputeSnapshot:
    """Map a dispute to a DisputeSnapshot."""
    reported = dispute.to_dict()
    respond_by = reported["evidence_details"]["due_by"]
    return DisputeSnapshot(
        object_id=reported["id"],
        status=_DISPUTE_STATUS.get(reported["status"], "open"),
        amount_minor=from_stripe(reported["amount"], reported["currency"]),
        currency=reported["currency"].upper(),
        reason=reported["reason"],
        respond_by=datetime.fromtimestamp(respond_by, UTC) if respond_by else None,
    )


def map_status(checkout_session: dict[str, Any], payment: dict[str, Any]) -> ProviderPaymentStatus:
    """Map to the provider-neutral status.

    A succeeded payment takes precedence over the status of the Checkout Session.
    """
    paid = checkout_session["status"] == "complete" and checkout_session["payment_status"] in {
        "paid",
        "no_payment_required",
    }
    if paid or payment.get("status") == "succeeded":
        return "succeeded"
    if checkout_session["status"] == "expired":
        return "expired"
    of_payment: dict[str, ProviderPaymentStatus] = {
        "requires_capture": "authorized",
        "processing": "processing",
        "canceled": "canceled",
        "requires_action": "requires_action",
    }
    if status := of_payment.get(payment.get("status", "")):
        return status
    if payment.get("last_payment_error"):
        return "failed"  # the payment requires another payment method
    return "requires_action" if checkout_session["status"] == "open" else "processing"


def parse_attempt_id(made: dict[str, Any]) -> UUID | None:
    """Return the attempt id in a payment's metadata; None if another system made the payment."""
    try:
        return UUID((made["metadata"] or {})["attempt_id"])
    except (KeyError, ValueError):
        return None


class _Reference(msgspec.Struct):
    id: str


class _Object(msgspec.Struct):
    id: str | None = None  # a balance has no id
    payment_intent: str | _Reference | None = None  # an object if the webhook endpoint expands it


class _Data(msgspec.Struct):
    object: _Object


class StripeEvent(msgspec.Struct):
    """The fields of an event that are used. The event's object is not trusted: it is fetched by its id.

    Other systems on the same account cause events of any type, so only ``id`` and ``type`` are required here.
    """

    id: str
    type: str
    livemode: bool = False
    data: Any = None

    @property
    def object_id(self) -> str | None:
        """Return the id of the Checkout Session or payment to fetch; None if there is no payment intent.

        Refunds, disputes and their charges are looked up by their payment intent. Objects of the older Charges API
        have none and were made by other systems. Raises WebhookMalformed.
        """
        try:
            event_object = msgspec.convert(self.data, _Data).object
        except msgspec.ValidationError as error:
            raise WebhookMalformed(str(error)) from error
        if "refund" in self.type or "dispute" in self.type:
            payment = event_object.payment_intent
            return payment.id if isinstance(payment, _Reference) else payment
        return event_object.id


def parse_event(body: bytes) -> StripeEvent:
    """Parse a webhook whose signature is verified. Raises WebhookMalformed."""
    try:
        return msgspec.json.decode(body, type=StripeEvent)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise WebhookMalformed(str(error)) from error
