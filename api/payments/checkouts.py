"""Checkout sessions: starting one, and syncing its payment when the buyer returns."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.rate_limits import PAYMENT
from api.rpc import call
from api.schemas import Line, Schema, Timestamp, Url
from models.commands import StartCheckout, SyncCheckout

from .blueprint import blp
from .orders import OrderSchema

PROVIDERS = ["stripe", "yookassa"]
ReturnUrl = Url(schemes={"http", "https"}, require_tld=False, max_length=2000)
# Address for fiscal receipts where the law requires one; defaults to the account's e-mail address.
ReceiptEmail = ma.fields.Email(validate=ma.validate.Length(max=254))


class CheckoutRequestSchema(Schema):
    # Exactly one of course_id, bundle_id and plan_id.
    course_id = ma.fields.UUID()
    bundle_id = ma.fields.UUID()
    plan_id = ma.fields.UUID()
    # Surrounding spaces are ignored: pasted codes often have them.
    coupon = Line(max_length=60, metadata={"example": "WELCOME10"})
    provider = ma.fields.Str(required=True, validate=ma.validate.OneOf(PROVIDERS))
    # Where the hosted checkout page redirects the buyer; the origin must be listed in RETURN_URL_ORIGINS.
    success_url = ReturnUrl
    cancel_url = ReturnUrl
    receipt_email = ReceiptEmail

    @ma.validates_schema
    def _validate_product(self, checkout: dict[str, Any], **_: Any) -> None:
        if len(checkout.keys() & {"course_id", "bundle_id", "plan_id"}) != 1:
            raise ma.ValidationError("Set exactly one of course_id, bundle_id and plan_id.", "course_id")
        if "plan_id" in checkout and "coupon" in checkout:
            raise ma.ValidationError("Coupons apply to courses and bundles only.", "coupon")


class CheckoutSchema(Schema):
    id = ma.fields.UUID()
    order_id = ma.fields.UUID(allow_none=True, metadata={"description": "null if the checkout starts a trial."})
    status = ma.fields.Str(
        metadata={
            "description": "`requires_action`: redirect the buyer to `redirect_url`. `succeeded`: nothing left to do."
        }
    )
    amount_minor = ma.fields.Int()
    currency = ma.fields.Str()
    redirect_url = ma.fields.Str(allow_none=True, metadata={"format": "uri"})
    expires_at = Timestamp(allow_none=True)


@blp.route("/checkouts")
class Checkouts(MethodView):
    @require_auth(idempotency_key=True, limit=PAYMENT)
    @blp.arguments(CheckoutRequestSchema)
    @blp.doc(operationId="createCheckout")
    @blp.response(201, CheckoutSchema)
    def post(self, checkout: dict[str, Any]) -> Any:
        """Create a checkout session

        Returns the open session for the same purchase if there is one. An order with a total of zero, for example
        after a coupon, is fulfilled at once.
        """
        return call(
            StartCheckout(
                user_id=current_caller().id,
                course_id=checkout.get("course_id"),
                bundle_id=checkout.get("bundle_id"),
                plan_id=checkout.get("plan_id"),
                coupon=checkout.get("coupon"),
                provider=checkout["provider"],
                success_url=checkout.get("success_url"),
                cancel_url=checkout.get("cancel_url"),
                receipt_email=checkout.get("receipt_email") or current_caller().email,
            )
        )


@blp.route("/checkouts/<uuid:checkout_id>/sync")
class CheckoutSync(MethodView):
    @require_auth(limit=PAYMENT)
    @blp.doc(operationId="syncCheckout")
    @blp.response(200, OrderSchema)
    def post(self, checkout_id: UUID) -> Any:
        """Sync a checkout session

        Fetches the payment's status from the provider. Call it when the buyer returns from the hosted checkout page.
        """
        return call(SyncCheckout(checkout_id=checkout_id, user_id=current_caller().id))
