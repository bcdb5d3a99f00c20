"""What the mail provider reports of the mails that it took."""

from typing import Any

import marshmallow as ma
from flask import request
from flask.views import MethodView

from api.auth import signed
from api.queue import ask
from api.schemas import Schema

from .blueprint import blp

_SIGNED_BY = ("webhook-id", "webhook-timestamp", "webhook-signature")


class ReportReceivedSchema(Schema):
    received = ma.fields.Bool()


@blp.route("/webhooks/email")
class MailReports(MethodView):
    @signed
    @blp.response(200, ReportReceivedSchema)
    def post(self) -> Any:
        """Take a report of a delivery, a bounce or a complaint; it is signed as Standard Webhooks say."""
        headers = {name: request.headers.get(name, "") for name in _SIGNED_BY}
        return ask("notifications.receive_mail_report", body=request.get_data(), headers=headers)
