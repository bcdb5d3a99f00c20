"""Unsubscribe links in e-mails: mail clients POST to the link (RFC 8058 one-click), browsers get a page."""

from typing import Any

import marshmallow as ma
from flask import Response, jsonify, render_template, request
from flask.views import MethodView

from api.auth import public, raw_webhook
from api.rpc import call
from api.schemas import Schema
from models.commands import ShowUnsubscription, Unsubscribe

from .blueprint import blp

# The page has inline styles only, loads nothing, and its form may only be sent to this origin.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"

_TEXTS = {
    "en": {
        "title": "E-mails from Coursebus",
        "ask": "Do you want to get no more e-mails of this kind? You can turn them on again in your settings.",
        "button": "Unsubscribe",
        "done": "You get no more e-mails of this kind. You can turn them on again in your settings.",
    },
    "ru": {
        "title": "Письма от Coursebus",
        "ask": "Больше не присылать такие письма? Включить их снова можно в настройках.",
        "button": "Отписаться",
        "done": "Вы больше не получаете таких писем. Включить их снова можно в настройках.",
    },
}


class UnsubscriptionSchema(Schema):
    category = ma.fields.Str()
    subscribed = ma.fields.Bool()


@blp.route("/unsubscribe/<token>")
class Unsubscription(MethodView):
    @public
    @blp.doc(operationId="showUnsubscribePage")
    @blp.response(200, {"type": "string"}, content_type="text/html")
    def get(self, token: str) -> Response:
        """Show the unsubscribe page

        Asks for confirmation, because mail scanners follow links.
        """
        return _html_page(call(ShowUnsubscription(token=token)))

    @raw_webhook
    @blp.doc(operationId="unsubscribe")
    @blp.response(200, UnsubscriptionSchema)
    def post(self, token: str) -> Response:
        """Unsubscribe

        Stops e-mails of the link's category (RFC 8058 one-click). Browsers get an HTML page.
        """
        ended = call(Unsubscribe(token=token))
        if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
            return _html_page(ended)
        return jsonify({"category": ended["category"], "subscribed": ended["subscribed"]})


def _html_page(view: dict[str, Any]) -> Response:
    page = render_template("unsubscribe.html", **view, words=_TEXTS[view["language"]])
    return Response(page, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _POLICY})
