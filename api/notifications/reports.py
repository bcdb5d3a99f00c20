"""The webhook of the e-mail provider: deliveries, bounces and complaints."""

from datetime import UTC, datetime
from typing import Any

import marshmallow as ma
from flask import request
from flask.views import MethodView

import settings
from api.auth import signed
from api.incoming import webhook_body
from api.queue import ask_for_webhook
from api.schemas import Schema
from models.webhooks import verify_standard

from .blueprint import blp

_SIGNED_BY = ("webhook-id", "webhook-timestamp", "webhook-signature")


class ReportReceivedSchema(Schema):
    received = ma.fields.Bool()


@blp.route("/webhooks/email")
class MailReports(MethodView):
    @signed
    @blp.response(200, ReportReceivedSchema)
    def post(self) -> Any:
        """Receive an e-mail provider webhook

        Reports a delivery, bounce or complaint. Verified by its Standard Webhooks signature.
        """
        headers = {name: request.headers.get(name, "") for name in _SIGNED_BY}
        body = webhook_body()
        verify_standard(body, headers, settings.EMAIL_WEBHOOK_SECRETS, at=datetime.now(UTC))
        return ask_for_webhook("notifications.receive_mail_report", body=body, headers=headers)
