"""What buyers' banks hold against payments, for those who answer them."""

from typing import Any

import marshmallow as ma
from flask.views import MethodView

from api.auth import requires
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.schemas import Schema, Timestamp

from .blueprint import blp

STATUSES = ["inquiry", "open", "won", "lost", "review"]


class DisputesQuery(PageQuery):
    order_id = ma.fields.UUID(load_default=None)
    status = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(STATUSES))


class DisputeSchema(Schema):
    id = ma.fields.UUID()
    order_id = ma.fields.UUID()
    payment_id = ma.fields.UUID()
    provider_id = ma.fields.Str(metadata={"description": "The provider's own, under which evidence is given there."})
    status = ma.fields.Str(
        validate=ma.validate.OneOf(STATUSES),
        metadata={
            "description": "inquiry: the bank asks, and takes nothing; open: the money is away until it is decided; "
            "won, lost: by the shop; review: its currency is not the payment's, a person looks at it."
        },
    )
    amount_minor = ma.fields.Int()
    currency = ma.fields.Str()
    reason = ma.fields.Str(metadata={"description": "The provider's code.", "example": "fraudulent"})
    problem = ma.fields.Str(allow_none=True)
    respond_by = Timestamp(allow_none=True, metadata={"description": "Until when evidence is taken."})
    opened_at = Timestamp()
    closed_at = Timestamp(allow_none=True)


@blp.route("/disputes")
class Disputes(MethodView):
    @requires("payments:read")
    @blp.arguments(DisputesQuery, location="query")
    @blp.response(200, page_of(DisputeSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List disputes, newest first; of one order, or in one status, where it is named."""
        return page(ask("payments.list_disputes", **query))
