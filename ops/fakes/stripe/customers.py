"""Implement customers."""

from typing import Any

from ops.fakes.calls import Call
from ops.fakes.store import Document
from ops.fakes.stripe.api import StripeApi

from . import forms, objects

FIELDS = ("address", "description", "email", "name", "phone", "preferred_locales", "shipping", "tax_exempt")
SUPPORTED_PARAMS = (*FIELDS, "metadata", "invoice_settings", "payment_method", "balance", "test_clock")


def routes(api: StripeApi) -> None:
    api.route("POST", "/v1/customers", create)
    api.route("GET", "/v1/customers", listed)
    api.route("GET", "/v1/customers/<customer_id>", retrieve)
    api.route("POST", "/v1/customers/<customer_id>", update)
    api.route("DELETE", "/v1/customers/<customer_id>", delete)


def create_customer(call: Call, **fields: Any) -> Document:
    """Create a customer and emit customer.created."""
    empty: Document = dict.fromkeys(FIELDS)
    more = {"balance": 0, "currency": None, "delinquent": False, "default_source": None, "invoice_prefix": "LOCAL"}
    settings_ = {"invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None}}
    customer = objects.new(call, "customer", "cus", **(empty | more | settings_ | fields))
    objects.save(call, customer)
    objects.emit(call, "customer.created", customer)
    return customer


def create(call: Call) -> Document:
    forms.require_known_fields(call.message, SUPPORTED_PARAMS)
    given = {name: call.message[name] for name in FIELDS if name in call.message}
    return create_customer(call, **given, metadata=forms.metadata(call.message))


def listed(call: Call) -> Document:
    filters = {"email": call.message["email"]} if "email" in call.message else {}
    return objects.page(call, call.db.find("customer", **filters), "/v1/customers")


def retrieve(call: Call, customer_id: str) -> Document:
    return objects.get_or_404(call, "customer", customer_id)


def update(call: Call, customer_id: str) -> Document:
    forms.require_known_fields(call.message, SUPPORTED_PARAMS)
    customer = objects.get_or_404(call, "customer", customer_id)
    customer |= {name: call.message[name] or None for name in FIELDS if name in call.message}
    customer["invoice_settings"] |= call.message.get("invoice_settings") or {}
    customer["metadata"] = forms.metadata(call.message, customer["metadata"])
    objects.emit(call, "customer.updated", customer)
    return objects.save(call, customer)


def delete(call: Call, customer_id: str) -> Document:
    customer = objects.get_or_404(call, "customer", customer_id)
    for method in call.db.find("payment_method", customer=customer_id):
        objects.save(call, method | {"customer": None, "_detached": True})
    call.db.delete(customer_id)
    objects.emit(call, "customer.deleted", customer)
    return {"id": customer_id, "object": "customer", "deleted": True}
