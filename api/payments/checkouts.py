"""From "I want this course" to a payment page, and back from it."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import me, requires
from api.limits import MONEY
from api.queue import ask
from api.schemas import Line, Schema, Timestamp

from .blueprint import blp
from .orders import OrderSchema

PROVIDERS = ["stripe", "yookassa"]
ReturnUrl = ma.fields.Url(schemes={"http", "https"}, require_tld=False, validate=ma.validate.Length(max=2000))
# Where the law asks for a receipt, it goes here; without it, to the address of the account.
ReceiptEmail = ma.fields.Email(validate=ma.validate.Length(max=254))


class CheckoutRequestSchema(Schema):
    # One of them.
    course_id = ma.fields.UUID()
    bundle_id = ma.fields.UUID()
    plan_id = ma.fields.UUID()
    # Spaces around it, as they come along when it is pasted, do not count.
    coupon = Line(longest=60, metadata={"example": "WELCOME10"})
    provider = ma.fields.Str(required=True, validate=ma.validate.OneOf(PROVIDERS))
    # Where the provider's page sends the buyer back to; its origin must be one of RETURN_URL_ORIGINS.
    success_url = ReturnUrl
    cancel_url = ReturnUrl
    receipt_email = ReceiptEmail

    @ma.validates_schema
    def _has_one_thing(self, checkout: dict[str, Any], **_: Any) -> None:
        if len(checkout.keys() & {"course_id", "bundle_id", "plan_id"}) != 1:
            raise ma.ValidationError("Name a course, a bundle or a plan.", "course_id")
        if "plan_id" in checkout and "coupon" in checkout:
            raise ma.ValidationError("Coupons are for courses and bundles.", "coupon")


class CheckoutSchema(Schema):
    id = ma.fields.UUID()
    order_id = ma.fields.UUID(allow_none=True, metadata={"description": "null where a trial begins."})
    status = ma.fields.Str(
        metadata={"description": "requires_action: send the buyer to redirect_url. succeeded: done."}
    )
    amount_minor = ma.fields.Int()
    currency = ma.fields.Str()
    redirect_url = ma.fields.Url(allow_none=True)
    expires_at = Timestamp(allow_none=True)


@blp.route("/checkouts")
class Checkouts(MethodView):
    @requires(idempotency_key=True, limit=MONEY)
    @blp.arguments(CheckoutRequestSchema)
    @blp.response(201, CheckoutSchema)
    def post(self, checkout: dict[str, Any]) -> Any:
        """Open a payment page, or get the open one. What costs nothing, after its coupon, is fulfilled at once."""
        return ask(
            "payments.start_checkout",
            user_id=me().id,
            course_id=checkout.get("course_id"),
            bundle_id=checkout.get("bundle_id"),
            plan_id=checkout.get("plan_id"),
            coupon=checkout.get("coupon"),
            provider=checkout["provider"],
            success_url=checkout.get("success_url"),
            cancel_url=checkout.get("cancel_url"),
            receipt_email=checkout.get("receipt_email") or me().email,
        )


@blp.route("/checkouts/<uuid:checkout_id>/sync")
class CheckoutSync(MethodView):
    @requires(limit=MONEY)
    @blp.response(200, OrderSchema)
    def post(self, checkout_id: UUID) -> Any:
        """Ask the provider what became of a payment; for the page that the buyer returns to."""
        return ask("payments.sync_checkout", checkout_id=checkout_id, user_id=me().id)
