"""Disputes that buyers' banks opened against payments."""

from typing import Any

import marshmallow as ma
from flask.views import MethodView

from api.auth import require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Schema, Timestamp
from models.commands import ListDisputes

from .blueprint import blp

STATUSES = ["inquiry", "open", "won", "lost", "review"]


class DisputesQuery(PageQuery):
    order_id = ma.fields.UUID(load_default=None)
    status = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(STATUSES))


class DisputeSchema(Schema):
    id = ma.fields.UUID()
    order_id = ma.fields.UUID()
    payment_id = ma.fields.UUID()
    provider_id = ma.fields.Str(metadata={"description": "The provider's dispute id; submit evidence there under it."})
    status = ma.fields.Str(
        validate=ma.validate.OneOf(STATUSES),
        metadata={
            "description": "`inquiry`: the bank asks without taking funds. `open`: the funds are withheld until the "
            "dispute is decided. `won`, `lost`: the outcome for the merchant. `review`: the currency differs from the "
            "payment's; staff must resolve it."
        },
    )
    amount_minor = ma.fields.Int()
    currency = ma.fields.Str()
    reason = ma.fields.Str(metadata={"description": "The provider's reason code.", "example": "fraudulent"})
    problem = ma.fields.Str(allow_none=True)
    respond_by = Timestamp(allow_none=True, metadata={"description": "Deadline for submitting evidence."})
    opened_at = Timestamp()
    closed_at = Timestamp(allow_none=True)


@blp.route("/disputes")
class Disputes(MethodView):
    @require_auth("payments:read", reads_personal_data=True)
    @blp.arguments(DisputesQuery, location="query")
    @blp.doc(operationId="listDisputes")
    @blp.response(200, page_schema(DisputeSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List disputes

        Newest first. Filter by order or status.
        """
        return page_response(call(ListDisputes(**query)))
