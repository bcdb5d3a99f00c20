"""Staff views of payments and refunds, and resolution of payments, refunds and disputes in review."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rate_limits import PAYMENT
from api.rpc import call
from api.schemas import Prose, Schema, Timestamp
from models.commands import ListAllRefunds, ListPayments, ResolveDispute, ResolvePayment, ResolveRefund, ShowPayment

from .blueprint import blp
from .disputes import DisputeSchema
from .refunds import RefundPage, RefundSchema

STATUSES = [
    *("created", "requires_action", "processing", "authorized", "succeeded", "failed", "canceled", "expired"),
    *("unknown", "review", "duplicate"),
]
REFUND_STATUSES = ["created", "unknown", "pending", "review", "succeeded", "failed"]


class PaymentsQuery(PageQuery):
    order_id = ma.fields.UUID(load_default=None)
    status = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(STATUSES))


class RefundsQuery(PageQuery):
    status = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(REFUND_STATUSES))


class ResolutionSchema(Schema):
    action = ma.fields.Str(validate=ma.validate.OneOf(["accept", "release", "refund"]))
    note = ma.fields.Str(metadata={"description": "Cleared when the buyer's account is erased."})
    actor = ma.fields.UUID(metadata={"description": "The user who decided."})
    resolved_at = Timestamp()


class PaymentSchema(Schema):
    id = ma.fields.UUID()
    order_id = ma.fields.UUID()
    status = ma.fields.Str(
        validate=ma.validate.OneOf(STATUSES),
        metadata={
            "description": "`review`: the provider's payment does not match the request; staff must resolve it. "
            "`duplicate`: the order was already paid, the funds are returned. `unknown`: the provider's response is "
            "outstanding and polled for."
        },
    )
    provider = ma.fields.Str(metadata={"example": "stripe"})
    provider_id = ma.fields.Str(allow_none=True, metadata={"description": "The provider's payment id."})
    amount_minor = ma.fields.Int(metadata={"description": "The requested amount."})
    currency = ma.fields.Str()
    captured_minor = ma.fields.Int(metadata={"description": "The amount captured from the buyer."})
    captured_currency = ma.fields.Str()
    refund_pending_minor = ma.fields.Int()
    refunded_minor = ma.fields.Int()
    disputed_minor = ma.fields.Int()
    charged_back_minor = ma.fields.Int()
    refundable_minor = ma.fields.Int(metadata={"description": "The amount that can still be refunded."})
    problem = ma.fields.Str(allow_none=True, metadata={"description": "The reason of the failure, or the mismatch."})
    created_at = Timestamp()


class PaymentDetailsSchema(PaymentSchema):
    resolutions = ma.fields.List(ma.fields.Nested(ResolutionSchema))


def _note() -> Prose:
    return Prose(required=True, max_length=500, not_blank=True)


class PaymentResolutionSchema(Schema):
    action = ma.fields.Str(
        required=True,
        validate=ma.validate.OneOf(["accept", "release", "refund"]),
        metadata={
            "description": "`accept`: the captured amount pays the order. `refund`: the captured amount is returned to "
            "the buyer. `release`: nothing was captured; the checkout session is closed and the authorization voided."
        },
    )
    note = _note()


class RefundResolutionSchema(Schema):
    action = ma.fields.Str(
        required=True,
        validate=ma.validate.OneOf(["accept", "release"]),
        metadata={"description": "`accept`: book the provider's amount. `release`: nothing was refunded."},
    )
    note = _note()


class DisputeResolutionSchema(RefundResolutionSchema):
    action = ma.fields.Str(
        required=True,
        validate=ma.validate.OneOf(["accept", "release"]),
        metadata={"description": "`accept`: the bank takes `amount_minor`. `release`: it takes nothing."},
    )
    amount_minor = ma.fields.Int(
        strict=True,
        validate=ma.validate.Range(min=1, max=10**12),
        metadata={"description": "With `accept` only: the disputed amount in the payment's currency."},
    )

    @ma.validates_schema
    def _validate_amount(self, resolution: dict[str, Any], **_: Any) -> None:
        if (resolution["action"] == "accept") != ("amount_minor" in resolution):
            raise ma.ValidationError("Required with accept, not allowed otherwise.", "amount_minor")


@blp.route("/payments")
class Payments(MethodView):
    @require_auth("payments:read", reads_personal_data=True)
    @blp.arguments(PaymentsQuery, location="query")
    @blp.doc(operationId="listPayments")
    @blp.response(200, page_schema(PaymentSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List payments

        Newest first. Filter by order or status.
        """
        return page_response(call(ListPayments(**query)))


@blp.route("/payments/<uuid:payment_id>")
class Payment(MethodView):
    @require_auth("payments:read", reads_personal_data=True)
    @blp.doc(operationId="getPayment")
    @blp.response(200, PaymentDetailsSchema)
    def get(self, payment_id: UUID) -> Any:
        """Retrieve a payment

        Returns the payment with its resolutions.
        """
        return call(ShowPayment(payment_id=payment_id))


@blp.route("/payments/<uuid:payment_id>/resolve")
class PaymentResolution(MethodView):
    @require_auth("payments:refund", idempotency_key=True, limit=PAYMENT)
    @blp.arguments(PaymentResolutionSchema)
    @blp.doc(operationId="resolvePayment")
    @blp.response(200, PaymentDetailsSchema)
    def post(self, resolution: dict[str, Any], payment_id: UUID) -> Any:
        """Resolve a payment in review

        The resolution is recorded with the caller and the note.
        """
        return call(ResolvePayment(payment_id=payment_id, actor=current_caller().id, **resolution))


@blp.route("/refunds")
class AllRefunds(MethodView):
    @require_auth("payments:read", reads_personal_data=True)
    @blp.arguments(RefundsQuery, location="query")
    @blp.doc(operationId="listRefunds")
    @blp.response(200, RefundPage)
    def get(self, query: dict[str, Any]) -> Page:
        """List all refunds

        Newest first. Filter by status.
        """
        return page_response(call(ListAllRefunds(**query)))


@blp.route("/refunds/<uuid:refund_id>/resolve")
class RefundResolution(MethodView):
    @require_auth("payments:refund", idempotency_key=True, limit=PAYMENT)
    @blp.arguments(RefundResolutionSchema)
    @blp.doc(operationId="resolveRefund")
    @blp.response(200, RefundSchema)
    def post(self, resolution: dict[str, Any], refund_id: UUID) -> Any:
        """Resolve a refund in review

        The resolution is recorded with the caller and the note.
        """
        return call(ResolveRefund(refund_id=refund_id, actor=current_caller().id, **resolution))


@blp.route("/disputes/<uuid:dispute_id>/resolve")
class DisputeResolution(MethodView):
    @require_auth("payments:refund", idempotency_key=True, limit=PAYMENT)
    @blp.arguments(DisputeResolutionSchema)
    @blp.doc(operationId="resolveDispute")
    @blp.response(200, DisputeSchema)
    def post(self, resolution: dict[str, Any], dispute_id: UUID) -> Any:
        """Resolve a dispute in review

        The resolution is recorded with the caller and the note.
        """
        return call(
            ResolveDispute(
                dispute_id=dispute_id,
                action=resolution["action"],
                amount_minor=resolution.get("amount_minor"),
                note=resolution["note"],
                actor=current_caller().id,
            )
        )
