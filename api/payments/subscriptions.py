"""Subscriptions to plans."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.conditional_requests import CREATED_HEADERS, created, json_response
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rate_limits import PAYMENT
from api.rpc import call
from api.schemas import Money, Schema, Timestamp
from core.cache import CachedView
from models.commands import CancelSubscription, ListSubscriptions, ShowSubscription, StartSubscription

from .blueprint import blp
from .checkouts import PROVIDERS, ReceiptEmail

STATUSES = ["incomplete", "trialing", "active", "past_due", "canceled", "expired"]


class PlanSubscriptionRequestSchema(Schema):
    plan_id = ma.fields.UUID(required=True)
    provider = ma.fields.Str(required=True, validate=ma.validate.OneOf(PROVIDERS))
    receipt_email = ReceiptEmail


class PlanSubscriptionSchema(Schema):
    id = ma.fields.UUID()
    status = ma.fields.Str(validate=ma.validate.OneOf(STATUSES))
    plan_id = ma.fields.UUID()
    plan_name = ma.fields.Str()
    price = ma.fields.Nested(Money)
    interval = ma.fields.Str(metadata={"example": "month"})
    provider = ma.fields.Str()
    course_ids = ma.fields.List(ma.fields.UUID())
    period_start = Timestamp()
    period_end = Timestamp()
    cancel_at_period_end = ma.fields.Bool()
    ends_at = Timestamp(
        allow_none=True, metadata={"description": "While `past_due`: when access ends unless a payment succeeds."}
    )
    problem = ma.fields.Str(
        allow_none=True, metadata={"description": "Why the last charge failed, or why the subscription ended."}
    )
    created_at = Timestamp()
    ended_at = Timestamp(allow_none=True)
    version = ma.fields.Int()


PlanSubscriptionPage = page_schema(PlanSubscriptionSchema)


@blp.route("/subscriptions")
class Subscriptions(MethodView):
    @require_auth(idempotency_key=True, limit=PAYMENT)
    @blp.arguments(PlanSubscriptionRequestSchema)
    @blp.doc(operationId="createSubscription")
    @blp.response(201, PlanSubscriptionSchema, headers=CREATED_HEADERS)
    def post(self, body: dict[str, Any]) -> Response:
        """Create a subscription

        Charges the caller's saved payment method or starts a trial. With neither, create a checkout session with
        `plan_id` instead.
        """
        view = call(
            StartSubscription(
                user_id=current_caller().id,
                plan_id=body["plan_id"],
                provider=body["provider"],
                receipt_email=body.get("receipt_email") or current_caller().email,
            )
        )
        return created(view, f"/v1/subscriptions/{view['id']}")


@blp.route("/me/subscriptions")
class OwnSubscriptions(MethodView):
    @require_auth()
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOwnSubscriptions")
    @blp.response(200, PlanSubscriptionPage)
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's subscriptions

        Newest first.
        """
        return page_response(call(ListSubscriptions(user_id=current_caller().id, **query)))


@blp.route("/subscriptions/<uuid:subscription_id>")
class Subscription(MethodView):
    @require_auth()
    @blp.doc(operationId="getSubscription")
    @blp.response(200, PlanSubscriptionSchema)
    def get(self, subscription_id: UUID) -> Response:
        """Retrieve a subscription

        Only the caller's own.
        """
        shown = call(ShowSubscription(subscription_id=subscription_id, user_id=current_caller().id))
        return json_response(CachedView.from_view(shown))


@blp.route("/subscriptions/<uuid:subscription_id>/cancel")
class SubscriptionCancellation(MethodView):
    @require_auth()
    @blp.doc(operationId="cancelSubscription")
    @blp.response(200, PlanSubscriptionSchema)
    def post(self, subscription_id: UUID) -> Any:
        """Cancel a subscription

        Cancels at the end of the current period; access continues until then.
        """
        return call(CancelSubscription(subscription_id=subscription_id, user_id=current_caller().id))
