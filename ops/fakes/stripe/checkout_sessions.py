"""Implement checkout sessions: line items, totals and expiry. ``checkout.py`` implements their payment page."""

import re

from flask import request

from ops.fakes.calls import Call
from ops.fakes.store import Document, Documents
from ops.fakes.stripe.api import StripeApi

from . import amounts, catalogue, errors, forms, objects, payment_intents, supported_params

MIN_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS = 30 * 60, 24 * 3600
MAX_LINE_ITEMS, REFERENCE_MAX_LENGTH = 100, 200
CLOCK_SLACK_SECONDS = 10  # tolerance for the time between building the request and receiving it


def routes(api: StripeApi) -> None:
    api.route("POST", "/v1/checkout/sessions", create)
    api.route("GET", "/v1/checkout/sessions", listed)
    api.route("GET", "/v1/checkout/sessions/<session_id>", retrieve)
    api.route("POST", "/v1/checkout/sessions/<session_id>", update)
    api.route("GET", "/v1/checkout/sessions/<session_id>/line_items", line_items)
    api.route("POST", "/v1/checkout/sessions/<session_id>/expire", expire)


def create(call: Call) -> Document:
    message = call.message
    forms.require_known_fields(message, supported_params.SESSION)
    mode = forms.one_of(message, "mode", ("payment", "setup"))
    _validate_combinations(call, mode)
    lines = _lines(call) if mode == "payment" else []
    currency = str(lines[0]["currency"] if lines else message.get("currency") or "") or None
    subtotal = sum(line["amount_subtotal"] for line in lines)
    discount = _discount(call, subtotal, currency)
    if currency and subtotal > discount:
        amounts.check_charge(subtotal - discount, currency, "line_items")
    session = objects.new(
        call,
        "checkout.session",
        "cs_test",
        amount_subtotal=subtotal if lines else None,
        amount_total=subtotal - discount if lines else None,
        automatic_tax={"enabled": False, "liability": None, "provider": None, "status": None},
        cancel_url=message.get("cancel_url"),
        client_reference_id=forms.text(message, "client_reference_id", REFERENCE_MAX_LENGTH),
        currency=currency,
        customer=message.get("customer"),
        customer_creation=message.get("customer_creation", "if_required") if mode == "payment" else None,
        customer_details={"email": message["customer_email"]} if message.get("customer_email") else None,
        customer_email=message.get("customer_email"),
        discounts=[{"coupon": item.get("coupon"), "promotion_code": None} for item in message.get("discounts") or []],
        expires_at=_expires_at(call),
        invoice=None,
        locale=message.get("locale"),
        mode=mode,
        payment_intent=None,  # created when the buyer pays
        payment_link=None,
        payment_method_types=message.get("payment_method_types") or ["card"],
        payment_status="no_payment_required" if mode == "setup" else "unpaid",
        setup_intent=None,
        status="open",
        submit_type=message.get("submit_type"),
        subscription=None,
        success_url=forms.required(message, "success_url"),
        total_details={"amount_discount": discount, "amount_shipping": 0, "amount_tax": 0},
        ui_mode="hosted_page",
        metadata=forms.metadata(message),
        _line_items=lines,
        _payment_intent_data=message.get("payment_intent_data") or {},
        _setup_intent_data=message.get("setup_intent_data") or {},
    )
    return objects.save(call, session | {"url": f"{request.host_url}__pay/{session['id']}"})


def _validate_combinations(call: Call, mode: str) -> None:
    message = call.message
    if customer := message.get("customer"):
        objects.get_or_400(call, "customer", customer, "customer")
        if message.get("customer_email"):
            raise errors.invalid("You may only specify one of these parameters: customer, customer_email.")
        if message.get("customer_creation"):
            raise errors.invalid("You may only specify one of these parameters: customer, customer_creation.")
    if mode == "setup" and message.get("customer_creation"):
        raise errors.invalid("`customer_creation` can only be used in `payment` mode.", "customer_creation")
    payment = message.get("payment_intent_data") or {}
    forms.require_known_fields(payment, supported_params.PAYMENT_INTENT_DATA, "payment_intent_data")
    forms.metadata(payment)
    forms.text(payment, "description")
    for name in ("success_url", "cancel_url"):
        if name in message and not re.match(r"https?://", message[name]):
            raise errors.invalid("Not a valid URL", name, "url_invalid")
    if mode == "setup" and (message.get("line_items") or message.get("payment_intent_data")):
        raise errors.invalid("You can not pass `line_items` or `payment_intent_data` in `setup` mode.", "mode")


def _lines(call: Call) -> list[Document]:
    given = forms.required(call.message, "line_items")
    if len(given) > MAX_LINE_ITEMS:
        raise errors.invalid(f"You can pass at most {MAX_LINE_ITEMS} line items.", "line_items")
    lines = [_line(call, item, f"line_items[{number}]") for number, item in enumerate(given)]
    if len({line["currency"] for line in lines}) > 1:
        raise errors.invalid("All line items must have the same currency.", "line_items")
    return lines


def _line(call: Call, given: Document, param: str) -> Document:
    forms.require_known_fields(given, supported_params.LINE_ITEM, param)
    if data := given.get("price_data"):
        forms.require_known_fields(data, supported_params.PRICE_DATA, f"{param}[price_data]")
        product = _product_of(call, data, param)
        price = catalogue.new_price(call, data, product["id"])
    else:
        price = objects.get_or_400(call, "price", forms.required(given, "price"), f"{param}[price]")
        product = objects.get_or_400(call, "product", price["product"], f"{param}[price]")
    if price["recurring"]:
        raise errors.invalid("You can not use recurring prices in `payment` mode.", f"{param}[price]")
    quantity = forms.positive(given, "quantity", None if "price_data" in given else 1)
    amount = price["unit_amount"] * quantity
    return {
        "id": objects.new_id("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": product["name"],
        "price": price,
        "quantity": quantity,
    }


def _product_of(call: Call, price_data: Document, param: str) -> Document:
    if data := price_data.get("product_data"):
        forms.require_known_fields(data, supported_params.PRODUCT_DATA, f"{param}[price_data][product_data]")
        return catalogue.new_product(call, data)
    return objects.get_or_400(call, "product", forms.required(price_data, "product"), f"{param}[price_data][product]")


def _discount(call: Call, subtotal_minor: int, currency: str | None) -> int:
    discounts = call.message.get("discounts") or []
    if not discounts or not currency:
        return 0
    if len(discounts) > 1:
        raise errors.invalid("You can only apply one discount.", "discounts")
    coupon_id = forms.required(discounts[0], "coupon")
    return catalogue.discount_minor(call, coupon_id, subtotal_minor=subtotal_minor, currency=currency)


def _expires_at(call: Call) -> int:
    now = int(call.now)
    expires_at = forms.integer(call.message, "expires_at", now + MAX_LIFETIME_SECONDS)
    if expires_at < now + MIN_LIFETIME_SECONDS - CLOCK_SLACK_SECONDS:
        message = "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation."
        raise errors.invalid(message, "expires_at")
    if expires_at > now + MAX_LIFETIME_SECONDS + CLOCK_SLACK_SECONDS:
        message = "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation."
        raise errors.invalid(message, "expires_at")
    return expires_at


def retrieve(call: Call, session_id: str) -> Document:
    return objects.get_or_404(call, "checkout.session", session_id)


def listed(call: Call) -> Document:
    sessions = call.db.find("checkout.session", **objects.filters(call, ("payment_intent", "customer", "status")))
    return objects.page(call, sessions, "/v1/checkout/sessions")


def update(call: Call, session_id: str) -> Document:
    session = retrieve(call, session_id)
    session["metadata"] = forms.metadata(call.message, session["metadata"])
    return objects.save(call, session)


def line_items(call: Call, session_id: str) -> Document:
    session = retrieve(call, session_id)
    return objects.page(call, session["_line_items"], f"/v1/checkout/sessions/{session_id}/line_items")


def expire(call: Call, session_id: str) -> Document:
    session = retrieve(call, session_id)
    if session["status"] != "open":
        message = f'Only Checkout Sessions with a status in ["open"] can be expired; this one is {session["status"]}.'
        raise errors.invalid(message, "session")
    return expired(call, session)


def expired(call: Call, session: Document) -> Document:
    """Expire the session and cancel the intent of an attempt on its page."""
    if session["payment_intent"]:
        intent = objects.get_or_404(call, "payment_intent", session["payment_intent"])
        payment_intents.canceled(call, intent, reason="automatic")
    session |= {"status": "expired", "url": None}
    objects.save(call, session)
    objects.emit(call, "checkout.session.expired", session)
    return session


def expire_due(db: Documents) -> None:
    """Expire sessions by time."""
    call = Call(db, {}, db.now())
    for session in db.find("checkout.session", status="open"):
        if session["expires_at"] <= call.now:
            expired(call, session)
