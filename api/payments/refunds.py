"""Refunds of orders."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rate_limits import PAYMENT
from api.rpc import call
from api.schemas import Flag, Prose, Schema, Timestamp
from models.commands import ListRefunds, RefundOrder

from .blueprint import blp, owner_filter


class RefundRequestSchema(Schema):
    amount_minor = ma.fields.Int(
        strict=True,
        load_default=None,
        validate=ma.validate.Range(min=1, max=10**12),
        metadata={"description": "Defaults to the amount that can still be refunded."},
    )
    payment_id = ma.fields.UUID(
        load_default=None,
        metadata={"description": "A payment of the order. Defaults to the one that paid it."},
    )
    reason = Prose(
        required=True,
        max_length=500,
        not_blank=True,
        metadata={"description": "Internal note; not shown to the buyer."},
    )
    keeps_access = Flag(
        load_default=False,
        metadata={"description": "Whether the buyer keeps access even after a full refund."},
    )


class RefundSchema(Schema):
    id = ma.fields.UUID()
    order_id = ma.fields.UUID()
    payment_id = ma.fields.UUID()
    status = ma.fields.Str(
        metadata={
            "description": "`pending`: the bank is processing it. `created`, `unknown`: the provider's response is "
            "outstanding and polled for. `review`: staff must resolve it. `succeeded`, `failed`: final."
        }
    )
    amount_minor = ma.fields.Int()
    currency = ma.fields.Str()
    reason = ma.fields.Str(metadata={"description": "The reason shown to the buyer, not the internal note."})
    keeps_access = ma.fields.Bool()
    problem = ma.fields.Str(allow_none=True, metadata={"description": "The provider's error code."})
    owed_since = Timestamp(
        allow_none=True,
        metadata={"description": "Set for duplicate or late payments: a rejected refund of them is retried."},
    )
    created_at = Timestamp()
    finished_at = Timestamp(allow_none=True)


RefundPage = page_schema(RefundSchema)


@blp.route("/orders/<uuid:order_id>/refunds")
class Refunds(MethodView):
    @require_auth("payments:refund", idempotency_key=True, limit=PAYMENT)
    @blp.arguments(RefundRequestSchema)
    @blp.doc(operationId="createRefund")
    @blp.response(201, RefundSchema)
    def post(self, refund: dict[str, Any], order_id: UUID) -> Any:
        """Create a refund

        Refunds an order fully or in part. Access ends when the full amount is refunded; a subscription ends with its
        current period.
        """
        return call(
            RefundOrder(
                order_id=order_id,
                amount_minor=refund["amount_minor"],
                reason=refund["reason"],
                requested_by=current_caller().id,
                payment_id=refund["payment_id"],
                keeps_access=refund["keeps_access"],
            )
        )

    @require_auth()
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOrderRefunds")
    @blp.response(200, RefundPage)
    def get(self, query: dict[str, Any], order_id: UUID) -> Page:
        """List refunds of an order

        With `payments:read`, any user's order.
        """
        owner_id = owner_filter()
        return page_response(call(ListRefunds(order_id=order_id, user_id=owner_id, **query)))
