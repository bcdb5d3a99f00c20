"""Orders and their history."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.conditional_requests import json_response
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rate_limits import PAYMENT
from api.rpc import call
from api.schemas import Schema, Timestamp
from core.cache import CachedView
from models.commands import CancelOrder, ListOrders, ShowOrder, ShowTimeline

from .blueprint import blp, owner_filter

STATUSES = ["pending", "paid", "partially_refunded", "refunded", "disputed", "charged_back", "expired", "canceled"]


class OrderedCourseSchema(Schema):
    course_id = ma.fields.UUID()
    title = ma.fields.Str()


class OrderSchema(Schema):
    id = ma.fields.UUID()
    status = ma.fields.Str(validate=ma.validate.OneOf(STATUSES))
    course_id = ma.fields.UUID(allow_none=True)
    bundle_id = ma.fields.UUID(allow_none=True)
    subscription_id = ma.fields.UUID(
        allow_none=True, metadata={"description": "The subscription that the order renews."}
    )
    course_title = ma.fields.Str(metadata={"description": "Title of the course, bundle or plan."})
    courses = ma.fields.List(ma.fields.Nested(OrderedCourseSchema))
    amount_minor = ma.fields.Int(metadata={"description": "Total to pay, after the discount."})
    coupon = ma.fields.Str(allow_none=True)
    discount_minor = ma.fields.Int()
    currency = ma.fields.Str()
    refund_pending_minor = ma.fields.Int()
    refunded_minor = ma.fields.Int()
    disputed_minor = ma.fields.Int(metadata={"description": "Funds withheld by open disputes."})
    created_at = Timestamp()
    paid_at = Timestamp(allow_none=True)
    version = ma.fields.Int()


OrderPage = page_schema(OrderSchema)


class OrderHistoryEntrySchema(Schema):
    step = ma.fields.Str(metadata={"example": "payment_succeeded"})
    payment_id = ma.fields.UUID(allow_none=True)
    provider = ma.fields.Str(allow_none=True)
    detail = ma.fields.Str(allow_none=True, metadata={"description": "Reason or further information, if any."})
    at = Timestamp()


@blp.route("/orders")
class Orders(MethodView):
    @require_auth()
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOwnOrders")
    @blp.response(200, OrderPage)
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's orders

        Newest first.
        """
        return page_response(call(ListOrders(user_id=current_caller().id, **query)))


@blp.route("/orders/<uuid:order_id>")
class Order(MethodView):
    @require_auth()
    @blp.doc(operationId="getOrder")
    @blp.response(200, OrderSchema)
    def get(self, order_id: UUID) -> Response:
        """Retrieve an order

        With `payments:read`, any user's order.
        """
        return json_response(CachedView.from_view(call(ShowOrder(order_id=order_id, user_id=owner_filter()))))


@blp.route("/orders/<uuid:order_id>/timeline")
class OrderTimeline(MethodView):
    @require_auth()
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOrderHistory")
    @blp.response(200, page_schema(OrderHistoryEntrySchema))
    def get(self, query: dict[str, Any], order_id: UUID) -> Page:
        """List the history of an order

        Returns its steps from checkout to access. With `payments:read`, any user's order.
        """
        return page_response(call(ShowTimeline(order_id=order_id, user_id=owner_filter(), **query)))


@blp.route("/orders/<uuid:order_id>/cancel")
class OrderCancellation(MethodView):
    @require_auth(limit=PAYMENT)
    @blp.doc(operationId="cancelOrder")
    @blp.response(200, OrderSchema)
    def post(self, order_id: UUID) -> Any:
        """Cancel an order

        The order must be unpaid. Also closes its checkout session.
        """
        return call(CancelOrder(order_id=order_id, user_id=current_caller().id))
