"""What was bought."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import me, requires
from api.etags import respond
from api.limits import MONEY
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.schemas import Schema, Timestamp
from models.cache import Stored

from .blueprint import blp

STATUSES = ["pending", "paid", "partially_refunded", "refunded", "disputed", "charged_back", "expired", "canceled"]


class OrderedCourseSchema(Schema):
    course_id = ma.fields.UUID()
    title = ma.fields.Str()


class OrderSchema(Schema):
    id = ma.fields.UUID()
    status = ma.fields.Str(validate=ma.validate.OneOf(STATUSES))
    course_id = ma.fields.UUID(allow_none=True)
    bundle_id = ma.fields.UUID(allow_none=True)
    subscription_id = ma.fields.UUID(allow_none=True, metadata={"description": "Whose next period it pays for."})
    course_title = ma.fields.Str(metadata={"description": "What was bought; of a bundle its own title."})
    courses = ma.fields.List(ma.fields.Nested(OrderedCourseSchema))
    amount_minor = ma.fields.Int(metadata={"description": "What is to be paid, less the discount."})
    coupon = ma.fields.Str(allow_none=True)
    discount_minor = ma.fields.Int()
    currency = ma.fields.Str()
    refund_pending_minor = ma.fields.Int()
    refunded_minor = ma.fields.Int()
    disputed_minor = ma.fields.Int(metadata={"description": "What a bank holds until a dispute is decided."})
    created_at = Timestamp()
    paid_at = Timestamp(allow_none=True)
    version = ma.fields.Int()


class OrderStepSchema(Schema):
    step = ma.fields.Str(metadata={"example": "payment_succeeded"})
    payment_id = ma.fields.UUID(allow_none=True)
    provider = ma.fields.Str(allow_none=True)
    detail = ma.fields.Str(allow_none=True, metadata={"description": "Why, where there is something to say."})
    at = Timestamp()


@blp.route("/orders")
class Orders(MethodView):
    @requires()
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, page_of(OrderSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's orders, newest first."""
        return page(ask("payments.list_orders", user_id=me().id, **query))


@blp.route("/orders/<uuid:order_id>")
class Order(MethodView):
    @requires()
    @blp.response(200, OrderSchema)
    def get(self, order_id: UUID) -> Response:
        """Show an order of the caller; any order to those with payments:read."""
        return respond(Stored.of(ask("payments.show_order", order_id=order_id, user_id=_whose())))


@blp.route("/orders/<uuid:order_id>/timeline")
class OrderTimeline(MethodView):
    @requires()
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, page_of(OrderStepSchema))
    def get(self, query: dict[str, Any], order_id: UUID) -> Page:
        """Tell what happened to an order, from its checkout to access; of any order to those with payments:read."""
        return page(ask("payments.show_timeline", order_id=order_id, user_id=_whose(), **query))


@blp.route("/orders/<uuid:order_id>/cancel")
class OrderCancellation(MethodView):
    @requires(limit=MONEY)
    @blp.response(200, OrderSchema)
    def post(self, order_id: UUID) -> Any:
        """Give up an unpaid order of the caller, and close its payment page."""
        return ask("payments.cancel_order", order_id=order_id, user_id=me().id)


def _whose() -> UUID | None:
    """None: anybody's."""
    return None if "payments:read" in me().permissions else me().id
