"""Payment provider webhooks: verify the sender, then forward the raw request to the payments service."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from flask import request
from flask.views import MethodView

import settings
from api.auth import raw_webhook
from api.incoming_webhooks import WebhookReceivedSchema, webhook_body
from api.rpc import call_for_webhook
from core.addresses import client_address
from core.webhook_signatures import verify_address, verify_stripe
from models.commands import ReceiveWebhook
from models.commands.payments import STRIPE_EVENT_TYPES, IncomingWebhook

from .blueprint import blp


@blp.route("/webhooks/stripe")
class StripeWebhook(MethodView):
    @raw_webhook
    @blp.doc(operationId="receiveStripeWebhook")
    @blp.response(200, WebhookReceivedSchema)
    def post(self) -> Any:
        """Receive a Stripe webhook

        Verified by its `Stripe-Signature` header.
        """
        body, signature = webhook_body(), request.headers.get("Stripe-Signature", "")
        secrets = [secret.encode() for secret in settings.STRIPE_WEBHOOK_SECRETS]
        verify_stripe(body, signature, secrets, at=datetime.now(UTC))
        if not _is_handled(body):
            return {"received": True}
        return _forward("stripe", body, {"stripe-signature": signature})


@blp.route("/webhooks/yookassa")
class YooKassaWebhook(MethodView):
    @raw_webhook
    @blp.doc(operationId="receiveYookassaWebhook")
    @blp.response(200, WebhookReceivedSchema)
    def post(self) -> Any:
        """Receive a YooKassa webhook

        Verified by the sender's IP address. The body is only a hint to fetch the payment from YooKassa.
        """
        verify_address(client_address(), settings.YOOKASSA_TRUSTED_NETWORKS, sender="yookassa")
        return _forward("yookassa", webhook_body(), {})


class _StripeEvent(msgspec.Struct):
    type: str


def _is_handled(body: bytes) -> bool:
    """Return whether the payments service handles this Stripe event. A malformed event is left to the service."""
    try:
        return msgspec.json.decode(body, type=_StripeEvent).type in STRIPE_EVENT_TYPES
    except ValueError:  # msgspec's errors, and UnicodeDecodeError
        return True


def _forward(provider: str, body: bytes, headers: dict[str, str]) -> Any:
    webhook = IncomingWebhook(body=body, headers=headers, address=client_address())
    return call_for_webhook(ReceiveWebhook(provider=provider, webhook=webhook))
