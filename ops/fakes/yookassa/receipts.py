"""Validate receipts according to 54-FZ and list the registered ones."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from ops.fakes import faults
from ops.fakes.calls import Call
from ops.fakes.store import Document
from ops.fakes.yookassa.api import YooKassaApi

from . import amounts, errors, objects

MEASURES = {"piece", "hour", "day", "another"}  # of the many that there are, those that fit courses
ITEM_FIELDS = ("description", "quantity", "amount", "vat_code")
PAYMENT_MODES = (
    "full_prepayment", "partial_prepayment", "advance", "full_payment", "partial_payment", "credit", "credit_payment",
)  # fmt: skip


def routes(api: YooKassaApi) -> None:
    api.route("GET", "/v3/receipts", listed)
    api.route(
        "GET", "/v3/receipts/<receipt_id>", lambda call, receipt_id: objects.get_or_404(call, "receipt", receipt_id)
    )


def check(receipt: Any, amount_minor: int) -> None:
    """Check that a receipt names the buyer and that its lines sum to ``amount_minor``. Raises ApiError."""
    if receipt is None:
        return
    customer = receipt.get("customer") or {}
    if not (customer.get("email") or customer.get("phone")):
        raise errors.invalid("The receipt needs the customer's email or phone.", "receipt.customer")
    if customer.get("email") and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", str(customer["email"])):
        raise errors.invalid("The email is not an address.", "receipt.customer.email")
    items = receipt.get("items") or []
    if not items:
        raise errors.invalid("The receipt has no items.", "receipt.items")
    total_minor = sum(_line_minor(item, f"receipt.items[{number}]") for number, item in enumerate(items))
    if total_minor != amount_minor:
        raise errors.invalid("The sum of the receipt's items differs from the amount.", "receipt.items")


def _line_minor(item: Document, parameter: str) -> Decimal:
    for name in ITEM_FIELDS:
        if item.get(name) in (None, ""):
            raise errors.invalid("The field is missing.", f"{parameter}.{name}")
    if len(str(item["description"])) > 128:
        raise errors.invalid("The description is longer than 128 characters.", f"{parameter}.description")
    if item["vat_code"] not in range(1, 13):
        raise errors.invalid("Unknown VAT code.", f"{parameter}.vat_code")
    if item.get("payment_mode", "full_payment") not in PAYMENT_MODES:
        raise errors.invalid("Unknown payment mode.", f"{parameter}.payment_mode")
    if item.get("measure", "piece") not in MEASURES:
        raise errors.invalid("Unknown measure.", f"{parameter}.measure")
    try:
        quantity = Decimal(str(item["quantity"]))
    except InvalidOperation:
        raise errors.invalid("The quantity is not a number.", f"{parameter}.quantity") from None
    return quantity * amounts.minor(item["amount"], f"{parameter}.amount")


def register(call: Call, receipt: Document, *, payment_id: str, refund_id: str | None = None) -> str:
    """Register the receipt of a payment or of one of its refunds. Return its status: "succeeded" or "canceled"."""
    status = "canceled" if faults.should_trigger(call.db, "cancel_receipts") else "succeeded"
    registered: Document = {
        "id": f"rt-{objects.new_id()}",
        "type": "refund" if refund_id else "payment",
        "status": status,
        "payment_id": payment_id,
        "refund_id": refund_id,
        "items": receipt["items"],
        "tax_system_code": receipt.get("tax_system_code"),
        "created_at": objects.timestamp(call.now),
    }
    if status == "succeeded":
        registered |= {"fiscal_document_number": "3986", "fiscal_storage_number": "9288000100115785"}
        registered |= {"fiscal_attribute": "2617603921", "registered_at": objects.timestamp(call.now)}
    call.db.save("receipt", registered)
    return status


def listed(call: Call) -> Document:
    names = [name for name in ("payment_id", "refund_id", "status") if name in call.message]
    return objects.page(call, call.db.find("receipt", **{name: call.message[name] for name in names}))
