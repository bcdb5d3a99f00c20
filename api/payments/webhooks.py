"""The providers' webhooks, passed on as they came."""

from typing import Any

import marshmallow as ma
from flask import request
from flask.views import MethodView

from api.auth import signed
from api.queue import ask
from api.schemas import Schema

from .blueprint import blp


class WebhookReceivedSchema(Schema):
    received = ma.fields.Bool()


@blp.route("/webhooks/stripe")
class StripeWebhook(MethodView):
    @signed
    @blp.response(200, WebhookReceivedSchema)
    def post(self) -> Any:
        """Take a webhook of Stripe's; it is signed."""
        signature = {"stripe-signature": request.headers.get("Stripe-Signature", "")}
        return ask("payments.receive_webhook", provider="stripe", body=request.get_data(), headers=signature)
