"""The providers' webhooks, passed on as they came."""

from typing import Any

import marshmallow as ma
from flask import request
from flask.views import MethodView

from api.addresses import client_address
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
        return ask("payments.receive_webhook", provider="stripe", webhook=_as_it_came(signature))


@blp.route("/webhooks/yookassa")
class YooKassaWebhook(MethodView):
    @signed
    @blp.response(200, WebhookReceivedSchema)
    def post(self) -> Any:
        """Take a notice of YooKassa's: a hint, from a known address, to ask what became of a payment."""
        return ask("payments.receive_webhook", provider="yookassa", webhook=_as_it_came({}))


def _as_it_came(headers: dict[str, str]) -> dict[str, Any]:
    return {"body": request.get_data(), "headers": headers, "address": client_address()}
