"""The webhook of the e-mail provider: deliveries, bounces and complaints."""

from datetime import UTC, datetime
from typing import Any

from flask import request
from flask.views import MethodView

import settings
from api.auth import raw_webhook
from api.incoming_webhooks import WebhookReceivedSchema, webhook_body
from api.rpc import call_for_webhook
from core.webhook_signatures import verify_standard
from models.commands import ReceiveEmailEvent

from .blueprint import blp

_SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


@blp.route("/webhooks/email")
class EmailWebhook(MethodView):
    @raw_webhook
    @blp.doc(operationId="receiveEmailWebhook")
    @blp.response(200, WebhookReceivedSchema)
    def post(self) -> Any:
        """Receive an e-mail provider webhook

        Reports a delivery, bounce or complaint. Verified by its Standard Webhooks signature.
        """
        headers = {name: request.headers.get(name, "") for name in _SIGNATURE_HEADERS}
        body = webhook_body()
        verify_standard(body, headers, settings.EMAIL_WEBHOOK_SECRETS, at=datetime.now(UTC))
        return call_for_webhook(ReceiveEmailEvent(body=body, headers=headers))
