"""The invoice of an order, as JSON or as a printable page."""

from datetime import datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import require_auth
from api.content_negotiation import HTML, json_or_html, media_types
from api.rpc import call
from api.schemas import Schema, Timestamp
from core.localization import format_date, format_money
from models.commands import ShowInvoice

from .blueprint import blp, owner_filter

_TEXTS = {
    "en": {
        "title": "Invoice",
        "number": "Number",
        "paid": "Paid",
        "coupon": "Coupon",
        "total": "Total",
        "refunded": "Refunded",
    },
    "ru": {
        "title": "Счёт",
        "number": "Номер",
        "paid": "Оплачен",
        "coupon": "Купон",
        "total": "Итого",
        "refunded": "Возвращено",
    },
}


class InvoiceLineSchema(Schema):
    title = ma.fields.Str()
    amount_minor = ma.fields.Int()
    amount = ma.fields.Str(metadata={"description": "The amount in major units, formatted for display."})


class InvoiceSchema(Schema):
    number = ma.fields.Str()
    order_id = ma.fields.UUID()
    seller = ma.fields.Str()
    issued_at = Timestamp()
    lines = ma.fields.List(ma.fields.Nested(InvoiceLineSchema))
    coupon = ma.fields.Str(allow_none=True)
    discount_minor = ma.fields.Int()
    discount = ma.fields.Str()
    total_minor = ma.fields.Int()
    total = ma.fields.Str()
    refunded_minor = ma.fields.Int()
    refunded = ma.fields.Str()
    currency = ma.fields.Str()


@blp.route("/orders/<uuid:order_id>/invoice")
class Invoice(MethodView):
    @require_auth()
    @blp.doc(operationId="getInvoice", **media_types(HTML))
    @blp.response(200, InvoiceSchema)
    @blp.alt_response(409, "Problem409")
    def get(self, order_id: UUID) -> Response:
        """Retrieve the invoice of an order

        The order must be paid. Returns JSON, or HTML in English or Russian if `Accept` prefers it. With
        `payments:read`, any user's order.
        """
        invoice: dict[str, Any] = call(ShowInvoice(order_id=order_id, user_id=owner_filter()))
        return json_or_html("invoice.html", invoice, languages=_TEXTS, context=_page_context)


def _page_context(invoice: dict[str, Any], language: str) -> dict[str, Any]:
    return {
        "words": _TEXTS[language],
        "paid_on": format_date(datetime.fromisoformat(invoice["issued_at"]), language),
        "money": lambda amount_minor: format_money(amount_minor, invoice["currency"], language),
    }
