"""The invoice of an order, as JSON, as a printable page or as PDF; and the details that a buyer wants on it."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response, jsonify
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.conditional_requests import if_match, versioned_response
from api.content_negotiation import HTML, JSON, PDF, html_page, media_types, negotiate, preferred_language, varied
from api.invoice_documents import TEXTS, page_context, render_pdf
from api.rpc import call
from api.schemas import Line, Prose, Schema, Timestamp
from api.users.profiles import get_profile
from models.commands import ReplaceBillingDetails, ShowBillingDetails, ShowInvoice
from models.commands.payments import BuyerDetails
from models.errors import NotFound

from .blueprint import blp, owner_filter

_ADDRESS_MAX_LENGTH = 500


class BuyerSchema(Schema):
    name = ma.fields.Str(allow_none=True)
    company = ma.fields.Str(allow_none=True)
    address = ma.fields.Str(allow_none=True)
    tax_id = ma.fields.Str(allow_none=True)


class BillingDetailsFieldsSchema(Schema):
    name = Line(allow_none=True, load_default=None, metadata={"description": "null: the name of the profile."})
    company = Line(allow_none=True, load_default=None)
    address = Prose(allow_none=True, load_default=None, max_length=_ADDRESS_MAX_LENGTH, not_blank=True)
    tax_id = Line(
        allow_none=True,
        load_default=None,
        max_length=40,
        metadata={"description": "Of the buyer, such as the number for VAT."},
    )


class BillingDetailsSchema(BillingDetailsFieldsSchema):
    version = ma.fields.Int()


class InvoiceLineSchema(Schema):
    title = ma.fields.Str()
    amount_minor = ma.fields.Int()
    amount = ma.fields.Str(metadata={"description": "The amount in major units, formatted for display."})


class _TaxedSchema(Schema):
    total_minor = ma.fields.Int()
    total = ma.fields.Str()
    tax_minor = ma.fields.Int(metadata={"description": "The tax that the total includes."})
    tax = ma.fields.Str()
    net_minor = ma.fields.Int(metadata={"description": "The total without the tax."})
    net = ma.fields.Str()


class CreditNoteSchema(_TaxedSchema):
    number = ma.fields.Str(metadata={"description": "CN-, the year, and a number without gaps within it."})
    refund_id = ma.fields.UUID()
    issued_at = Timestamp()
    voided_at = Timestamp(
        allow_none=True, metadata={"description": "When the buyer's bank returned the refund: the note is void."}
    )


class InvoiceSchema(_TaxedSchema):
    number = ma.fields.Str(metadata={"description": "The year, and a number without gaps within it."})
    order_id = ma.fields.UUID()
    seller = ma.fields.Str(metadata={"description": "The name of the seller."})
    seller_address = ma.fields.Str(allow_none=True)
    seller_tax_id = ma.fields.Str(allow_none=True)
    buyer = ma.fields.Nested(BuyerSchema)
    issued_at = Timestamp()
    paid_at = Timestamp()
    lines = ma.fields.List(ma.fields.Nested(InvoiceLineSchema))
    coupon = ma.fields.Str(allow_none=True)
    discount_minor = ma.fields.Int()
    discount = ma.fields.Str()
    tax_name = ma.fields.Str(allow_none=True, metadata={"description": "null: the invoice shows no tax."})
    tax_basis_points = ma.fields.Int(metadata={"description": "The rate in hundredths of a percent: 2000 is 20 %."})
    refunded_minor = ma.fields.Int()
    refunded = ma.fields.Str()
    credit_notes = ma.fields.List(
        ma.fields.Nested(CreditNoteSchema), metadata={"description": "One for each refund, oldest first."}
    )
    currency = ma.fields.Str()


@blp.route("/orders/<uuid:order_id>/invoice")
class Invoice(MethodView):
    @require_auth()
    @blp.doc(operationId="getInvoice", **media_types(HTML, PDF))
    @blp.response(200, InvoiceSchema)
    @blp.alt_response(409, "Problem409")
    def get(self, order_id: UUID) -> Response:
        """Retrieve the invoice of an order

        The order must be paid. Returns JSON, or by `Accept` a page or a PDF in English or Russian, by
        `Accept-Language`. Seller, tax and the buyer's billing details are those of the day of issue. With
        `payments:read`, any user's order.
        """
        media_type, language = negotiate(JSON, HTML, PDF), preferred_language(TEXTS)
        invoice: dict[str, Any] = call(ShowInvoice(order_id=order_id, user_id=owner_filter()))
        invoice["buyer"] = _complete_buyer(invoice["buyer"], UUID(invoice.pop("user_id")))
        if media_type == PDF:
            response = Response(render_pdf(invoice, language), content_type=PDF)
            response.headers["Content-Disposition"] = f'inline; filename="invoice-{invoice["number"]}.pdf"'
        elif media_type == HTML:
            response = html_page("invoice.html", invoice=invoice, language=language, **page_context(invoice, language))
        else:
            response = jsonify(invoice)
        return varied(response, TEXTS)


def _complete_buyer(buyer: dict[str, Any] | None, user_id: UUID) -> dict[str, Any]:
    """Return the buyer with the name of the profile if the billing details have neither name nor company."""
    complete: dict[str, Any] = {"name": None, "company": None, "address": None, "tax_id": None, **(buyer or {})}
    if not (complete["name"] or complete["company"]):
        try:
            complete["name"] = get_profile(user_id)["name"]
        except NotFound:  # the account is erased
            return complete
    return complete


@blp.route("/me/billing-details")
class BillingDetails(MethodView):
    @require_auth()
    @blp.doc(operationId="getBillingDetails")
    @blp.response(200, BillingDetailsSchema)
    def get(self) -> Response:
        """Retrieve the caller's billing details

        What invoices name beside the profile's name. Null until they are given.
        """
        return versioned_response(call(ShowBillingDetails(user_id=current_caller().id)))

    @require_auth()
    @if_match
    @blp.arguments(BillingDetailsFieldsSchema)
    @blp.doc(operationId="replaceBillingDetails")
    @blp.response(200, BillingDetailsSchema)
    def put(self, details: dict[str, Any], *, expected_version: int) -> Response:
        """Replace the caller's billing details

        Invoices that are issued from now on have them, and those of the last 30 days that have none.
        """
        replaced = ReplaceBillingDetails(
            user_id=current_caller().id, expected_version=expected_version, details=BuyerDetails(**details)
        )
        return versioned_response(call(replaced))
