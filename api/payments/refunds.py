"""Giving money back."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import me, requires
from api.limits import MONEY
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.schemas import Flag, Schema, Timestamp

from .blueprint import blp

_NOT_BLANK = ma.validate.Regexp(r"(?s).*\S", error="Say why.")


class RefundRequestSchema(Schema):
    amount_minor = ma.fields.Int(
        strict=True,
        load_default=None,
        validate=ma.validate.Range(min=1, max=10**12),
        metadata={"description": "Without it, all that is left."},
    )
    payment_id = ma.fields.UUID(
        load_default=None,
        metadata={"description": "A payment of the order; without it, the one that paid the order."},
    )
    reason = ma.fields.Str(
        required=True,
        validate=[ma.validate.Length(max=500), _NOT_BLANK],
        metadata={"description": "For staff: the buyer is not shown it."},
    )
    keeps_access = Flag(
        load_default=False,
        metadata={"description": "What was bought stays the buyer's, also where nothing is left of its money."},
    )


class RefundSchema(Schema):
    id = ma.fields.UUID()
    order_id = ma.fields.UUID()
    payment_id = ma.fields.UUID()
    status = ma.fields.Str(
        metadata={
            "description": "succeeded or failed; pending: the bank is at work; created, unknown: the provider is asked "
            "until it answers; review: a person looks at it."
        }
    )
    amount_minor = ma.fields.Int()
    currency = ma.fields.Str()
    reason = ma.fields.Str(metadata={"description": "To the buyer, not what staff wrote."})
    keeps_access = ma.fields.Bool()
    problem = ma.fields.Str(allow_none=True, metadata={"description": "The provider's code for what went wrong."})
    owed_since = Timestamp(
        allow_none=True,
        metadata={"description": "Money that came twice or too late: a refused refund of it is tried again."},
    )
    created_at = Timestamp()
    finished_at = Timestamp(allow_none=True)


RefundPage = page_of(RefundSchema)


@blp.route("/orders/<uuid:order_id>/refunds")
class Refunds(MethodView):
    @requires("payments:refund", idempotency_key=True, limit=MONEY)
    @blp.arguments(RefundRequestSchema)
    @blp.response(201, RefundSchema)
    def post(self, refund: dict[str, Any], order_id: UUID) -> Any:
        """Give back a part or all of what was paid.

        What was bought ends when all of its money has gone back, a subscription with its present period.
        """
        return ask(
            "payments.refund_order",
            order_id=order_id,
            amount_minor=refund["amount_minor"],
            reason=refund["reason"],
            requested_by=me().id,
            payment_id=refund["payment_id"],
            keeps_access=refund["keeps_access"],
        )

    @requires()
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, RefundPage)
    def get(self, query: dict[str, Any], order_id: UUID) -> Page:
        """List the refunds of an order of the caller; of any order for those with payments:read."""
        whose = None if "payments:read" in me().permissions else me().id
        return page(ask("payments.list_refunds", order_id=order_id, user_id=whose, **query))
