"""The webhook of Auth0."""

from typing import Any

from flask import request
from flask.views import MethodView

import settings
from api.auth import raw_webhook
from api.incoming_webhooks import WebhookReceivedSchema, webhook_body
from api.rpc import call_for_webhook
from core.webhook_signatures import verify_auth0
from models.commands import (
    ReceiveAuth0Webhook,
)

from .blueprint import blp


@blp.route("/webhooks/auth0")
class Auth0Webhook(MethodView):
    @raw_webhook
    @blp.doc(operationId="receiveAuth0Webhook")
    @blp.response(200, WebhookReceivedSchema)
    def post(self) -> Any:
        """Receive an Auth0 webhook

        From an event stream or log stream; verified by the shared token in `Authorization`.
        """
        authorization = request.headers.get("Authorization", "")
        verify_auth0(authorization, settings.AUTH0_WEBHOOK_TOKENS)
        return call_for_webhook(ReceiveAuth0Webhook(body=webhook_body(), authorization=authorization))
