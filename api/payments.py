"""Payments: checkouts, orders, and the providers' webhooks."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response, request
from flask.views import MethodView

from models.cache import Stored

from .auth import me, requires, signed
from .blueprints import Blueprint
from .etags import respond
from .limits import MONEY
from .pages import Page, PageQuery, page, page_of
from .queue import ask
from .schemas import Schema, Timestamp

blp = Blueprint("payments", __name__, url_prefix="/v1", description="Buying courses.")

PROVIDERS = ["stripe"]
ReturnUrl = ma.fields.Url(schemes={"http", "https"}, require_tld=False, validate=ma.validate.Length(max=2000))


class CheckoutRequestSchema(Schema):
    course_id = ma.fields.UUID(required=True)
    provider = ma.fields.Str(required=True, validate=ma.validate.OneOf(PROVIDERS))
    # Where the provider's page sends the buyer back to; its origin must be one of RETURN_URL_ORIGINS.
    success_url = ReturnUrl
    cancel_url = ReturnUrl


class CheckoutSchema(Schema):
    id = ma.fields.UUID()
    order_id = ma.fields.UUID()
    status = ma.fields.Str(
        metadata={"description": "requires_action: send the buyer to redirect_url. succeeded: done."}
    )
    amount_minor = ma.fields.Int()
    currency = ma.fields.Str()
    redirect_url = ma.fields.Url(allow_none=True)
    expires_at = Timestamp(allow_none=True)


class OrderSchema(Schema):
    id = ma.fields.UUID()
    status = ma.fields.Str(validate=ma.validate.OneOf(["pending", "paid", "expired"]))
    course_id = ma.fields.UUID()
    course_title = ma.fields.Str()
    amount_minor = ma.fields.Int()
    currency = ma.fields.Str()
    created_at = Timestamp()
    paid_at = Timestamp(allow_none=True)
    version = ma.fields.Int()


class WebhookReceivedSchema(Schema):
    received = ma.fields.Bool()


@blp.route("/checkouts")
class Checkouts(MethodView):
    @requires(idempotency_key=True, limit=MONEY)
    @blp.arguments(CheckoutRequestSchema)
    @blp.response(201, CheckoutSchema)
    def post(self, checkout: dict[str, Any]) -> Any:
        """Open a payment page for a course, or get the open one. A free course is fulfilled at once."""
        return ask(
            "payments.start_checkout",
            user_id=me().id,
            course_id=checkout["course_id"],
            provider=checkout["provider"],
            success_url=checkout.get("success_url"),
            cancel_url=checkout.get("cancel_url"),
        )


@blp.route("/checkouts/<uuid:checkout_id>/sync")
class CheckoutSync(MethodView):
    @requires()
    @blp.response(200, OrderSchema)
    def post(self, checkout_id: UUID) -> Any:
        """Ask the provider what became of a payment; for the page that the buyer returns to."""
        return ask("payments.sync_checkout", checkout_id=checkout_id, user_id=me().id)


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
        whose = None if "payments:read" in me().permissions else me().id
        return respond(Stored.of(ask("payments.show_order", order_id=order_id, user_id=whose)))


@blp.route("/webhooks/stripe")
class StripeWebhook(MethodView):
    @signed
    @blp.response(200, WebhookReceivedSchema)
    def post(self) -> Any:
        """Take a webhook of Stripe's; it is signed."""
        signature = {"stripe-signature": request.headers.get("Stripe-Signature", "")}
        return ask("payments.receive_webhook", provider="stripe", body=request.get_data(), headers=signature)
