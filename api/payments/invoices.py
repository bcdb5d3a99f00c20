"""The invoice of an order, as JSON or as a printable page."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.content_negotiation import json_or_html
from api.rpc import call
from api.schemas import Schema, Timestamp
from models.commands import ShowInvoice

from .blueprint import blp

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Invoice {{ number }}</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #222; }
  table { width: 100%; border-collapse: collapse; } td { padding: .4rem 0; border-bottom: 1px solid #ddd; }
  td:last-child { text-align: right; }
</style>
<h1>Invoice</h1>
<p>{{ seller }}<br>Number {{ number }}<br>Paid {{ issued_at[:10] }}</p>
<table>
{% for line in lines %}<tr><td>{{ line.title }}</td><td>{{ line.amount }} {{ currency }}</td></tr>
{% endfor %}{% if discount_minor %}<tr><td>Coupon {{ coupon }}</td><td>-{{ discount }} {{ currency }}</td></tr>
{% endif %}<tr><td><strong>Total</strong></td><td><strong>{{ total }} {{ currency }}</strong></td></tr>
{% if refunded_minor %}<tr><td>Refunded</td><td>-{{ refunded }} {{ currency }}</td></tr>
{% endif %}</table>
</html>
"""


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
    @blp.response(200, InvoiceSchema)
    @blp.alt_response(409, "Problem409")
    def get(self, order_id: UUID) -> Response:
        """Retrieve the invoice of an order

        The order must be paid. Returns JSON, or HTML if `Accept` prefers it. With `payments:read`, any user's order.
        """
        owner_id = None if "payments:read" in current_caller().permissions else current_caller().id
        invoice: dict[str, Any] = call(ShowInvoice(order_id=order_id, user_id=owner_id))
        return json_or_html(_PAGE, invoice)
