"""Implement payments: pending, waiting_for_capture, succeeded, canceled. A declined payment is canceled."""

import re

from flask import request

import settings
from ops.fakes.calls import Call
from ops.fakes.store import Document, Documents
from ops.fakes.yookassa.api import YooKassaApi

from . import amounts, errors, objects, receipts

SUPPORTED_PARAMS = {
    "amount",
    "description",
    "receipt",
    "recipient",
    "payment_token",
    "payment_method_id",
    "payment_method_data",
    "confirmation",
    "save_payment_method",
    "capture",
    "client_ip",
    "metadata",
    "airline",
    "transfers",
    "deal",
    "merchant_customer_id",
    "fraud_data",
    "receiver",
    "invoice_id",
    "statements",
}
CAPTURE_PARAMS = {"amount", "receipt", "airline", "transfers", "deal"}
CONFIRMATION_SECONDS = 3600  # for the page of a pending payment
URL_MAX_LENGTH = 2048
MIN_AMOUNT_MINOR = 100  # the same for every payment method
AUTHORIZATION_SECONDS = 7 * 24 * 3600


def routes(api: YooKassaApi) -> None:
    api.route("POST", "/v3/payments", create)
    api.route("GET", "/v3/payments", listed)
    api.route(
        "GET", "/v3/payments/<payment_id>", lambda call, payment_id: objects.get_or_404(call, "payment", payment_id)
    )
    api.route("POST", "/v3/payments/<payment_id>/capture", capture)
    api.route("POST", "/v3/payments/<payment_id>/cancel", cancel)


def create(call: Call) -> Document:
    message = call.message
    if unknown := sorted(set(message) - SUPPORTED_PARAMS):
        raise errors.invalid("Unknown parameter.", unknown[0])
    amount_minor = amounts.minor(message.get("amount"), "amount")
    if amount_minor < MIN_AMOUNT_MINOR:
        raise errors.invalid("The amount is below the minimum of 1.00 RUB.", "amount.value")
    if len(message.get("description") or "") > 128:
        raise errors.invalid("The description is longer than 128 characters.", "description")
    receipts.check(message.get("receipt"), amount_minor)
    payment = _new(call, amount_minor)
    if method_id := message.get("payment_method_id"):
        return _charge_saved(call, payment, method_id)
    payment["confirmation"] = _confirmation(message, payment)
    payment["_return_url"] = payment["confirmation"]["return_url"]
    return call.db.save("payment", payment)


def _new(call: Call, amount_minor: int) -> Document:
    message = call.message
    return {
        "id": objects.new_id(),
        "status": "pending",
        "amount": amounts.rubles(amount_minor),
        "description": message.get("description"),
        "recipient": {"account_id": settings.YOOKASSA_SHOP_ID, "gateway_id": "1000000"},
        "created_at": objects.timestamp(call.now),
        "test": True,
        "paid": False,
        "refundable": False,
        "metadata": objects.metadata(message),
        "merchant_customer_id": message.get("merchant_customer_id"),
        "receipt_registration": "pending" if message.get("receipt") else None,
        "_capture": bool(message.get("capture", False)),  # two-step by default, as at YooKassa
        "_save": bool(message.get("save_payment_method", False)),
        "_declines": None,  # the reason with which the card saved here declines
        "_return_url": None,
        "_receipt": message.get("receipt"),
        "_amount_minor": amount_minor,
        "_refunded_minor": 0,
        "_ends_at": call.now + CONFIRMATION_SECONDS,
    }


def _confirmation(message: Document, payment: Document) -> Document:
    confirmation = message.get("confirmation") or {}
    if confirmation.get("type") != "redirect":
        raise errors.invalid("Confirmation of the type redirect is required.", "confirmation.type")
    return_url = str(confirmation.get("return_url") or "")
    if not re.match(r"https?://", return_url) or len(return_url) > URL_MAX_LENGTH:
        raise errors.invalid("The return URL is missing or invalid.", "confirmation.return_url")
    url = f"{request.host_url}__pay/{payment['id']}"
    return {"type": "redirect", "confirmation_url": url, "return_url": confirmation["return_url"]}


def _charge_saved(call: Call, payment: Document, method_id: str) -> Document:
    """Charge a saved card without the buyer. A declined card cancels the payment; the response is still a 200."""
    # As at YooKassa, a saved method has the id of the payment that saved it.
    saved_by = call.db.get(method_id, "payment")
    if saved_by is None or not saved_by.get("payment_method", {}).get("saved"):
        raise errors.invalid("The payment method doesn't exist or is not saved.", "payment_method_id")
    payment["payment_method"] = saved_by["payment_method"]
    if reason := saved_by["_declines"]:
        return cancel_payment(call, payment, party="payment_network", reason=reason)
    return confirm_payment(call, payment)


def pay_by_card(call: Call, payment: Document) -> Document:
    """Pay with a card on the page and save the card if requested."""
    card = {"first6": "555555", "last4": "4444", "expiry_month": "12", "expiry_year": "2034"}
    card |= {"card_type": "MasterCard", "issuer_country": "RU"}
    method = {"type": "bank_card", "id": payment["id"], "saved": payment["_save"], "status": "active"}
    payment["payment_method"] = method | {"title": "Bank card *4444", "card": card}
    return confirm_payment(call, payment)


def confirm_payment(call: Call, payment: Document) -> Document:
    """Capture the payment, or authorize it if capture was not requested."""
    payment |= {
        "paid": True,
        "confirmation": None,
        "authorization_details": {"rrn": "100000000001", "auth_code": "100001"},
    }
    if payment["_capture"]:
        return _capture(call, payment, payment["_amount_minor"])
    ends_at = call.now + AUTHORIZATION_SECONDS
    payment |= {"status": "waiting_for_capture", "expires_at": objects.timestamp(ends_at), "_ends_at": ends_at}
    objects.notify(call, "payment.waiting_for_capture", payment)
    return call.db.save("payment", payment)


def _capture(call: Call, payment: Document, amount_minor: int) -> Document:
    payment |= {
        "status": "succeeded",
        "amount": amounts.rubles(amount_minor),
        "income_amount": amounts.income(amount_minor),
        "captured_at": objects.timestamp(call.now),
        "refunded_amount": amounts.rubles(0),
        "refundable": True,
        "expires_at": None,
        "_amount_minor": amount_minor,
        "_ends_at": None,
    }
    if payment["_receipt"]:
        payment["receipt_registration"] = receipts.register(call, payment["_receipt"], payment_id=payment["id"])
    objects.notify(call, "payment.succeeded", payment)
    return call.db.save("payment", payment)


def cancel_payment(call: Call, payment: Document, *, party: str, reason: str) -> Document:
    payment |= {
        "status": "canceled",
        "paid": False,
        "confirmation": None,
        "expires_at": None,
        "receipt_registration": None,
        "cancellation_details": {"party": party, "reason": reason},
        "_ends_at": None,
    }
    objects.notify(call, "payment.canceled", payment)
    return call.db.save("payment", payment)


def listed(call: Call) -> Document:
    filters = {"status": call.message["status"]} if "status" in call.message else {}
    return objects.page(call, call.db.find("payment", **filters))


def _get_authorized(call: Call, payment_id: str) -> Document:
    payment = objects.get_or_404(call, "payment", payment_id)
    if payment["status"] != "waiting_for_capture":
        raise errors.invalid(f"The payment is {payment['status']}, not waiting_for_capture.", "payment_id")
    return payment


def capture(call: Call, payment_id: str) -> Document:
    payment = _get_authorized(call, payment_id)
    amount_minor = payment["_amount_minor"]
    if "amount" in call.message:
        amount_minor = amounts.minor(call.message["amount"], "amount")
    if unknown := sorted(set(call.message) - CAPTURE_PARAMS):
        raise errors.invalid("Unknown parameter.", unknown[0])
    if amount_minor > payment["_amount_minor"]:
        raise errors.invalid("The amount is greater than what was authorized.", "amount")
    if receipt := call.message.get("receipt"):
        receipts.check(receipt, amount_minor)
        payment["_receipt"] = receipt
    return _capture(call, payment, amount_minor)


def cancel(call: Call, payment_id: str) -> Document:
    return cancel_payment(call, _get_authorized(call, payment_id), party="merchant", reason="canceled_by_merchant")


def expire_due(db: Documents) -> None:
    """Cancel payments whose page or authorization has expired."""
    call = Call(db, {}, db.now())
    ends = {"pending": "expired_on_confirmation", "waiting_for_capture": "expired_on_capture"}
    for status, reason in ends.items():
        for payment in db.find("payment", status=status):
            if payment["_ends_at"] <= call.now:
                cancel_payment(call, payment, party="yoo_money", reason=reason)
