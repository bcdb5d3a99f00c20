"""Implement payment intents, from requires_payment_method to succeeded or canceled."""

from typing import Any

from flask import request

from ops.fakes.calls import ApiError, Call
from ops.fakes.store import Document
from ops.fakes.stripe.api import StripeApi

from . import amounts, charges, errors, forms, objects, payment_methods, supported_params

CAPTURE_METHODS = ("automatic", "automatic_async", "manual")
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = (*CONFIRMABLE, "requires_capture", "processing")


def routes(api: StripeApi) -> None:
    api.route("POST", "/v1/payment_intents", create)
    api.route("GET", "/v1/payment_intents", listed)
    api.route("GET", "/v1/payment_intents/<intent_id>", retrieve)
    api.route("POST", "/v1/payment_intents/<intent_id>", update)
    api.route("POST", "/v1/payment_intents/<intent_id>/confirm", confirm)
    api.route("POST", "/v1/payment_intents/<intent_id>/capture", capture)
    api.route("POST", "/v1/payment_intents/<intent_id>/cancel", cancel)


def create(call: Call) -> Document:
    forms.require_known_fields(call.message, supported_params.PAYMENT_INTENT)
    message = call.message
    if customer := message.get("customer"):
        objects.get_or_400(call, "customer", customer, "customer")
    amount, currency = forms.positive(message, "amount"), forms.currency(message)
    if forms.flag(message, "off_session") and not forms.flag(message, "confirm"):
        raise errors.invalid("`off_session` can only be used when `confirm` is true.", "off_session")
    amounts.check_charge(amount, currency)
    intent = new(call, message, amount=amount, currency=currency, customer=customer)
    if token := message.get("payment_method"):
        _set_payment_method(call, intent, token)
    objects.save(call, intent)
    objects.emit(call, "payment_intent.created", intent)
    return _confirm(call, intent) if forms.flag(message, "confirm") else intent


def new(call: Call, message: Document, **fields: Any) -> Document:
    """Return an unsaved intent from ``message``: a request or a session's payment_intent_data."""
    intent = objects.new(
        call,
        "payment_intent",
        "pi",
        amount_capturable=0,
        amount_received=0,
        automatic_payment_methods=message.get("automatic_payment_methods"),
        canceled_at=None,
        cancellation_reason=None,
        capture_method=forms.one_of(message, "capture_method", CAPTURE_METHODS, "automatic_async"),
        confirmation_method="automatic",
        description=forms.text(message, "description"),
        last_payment_error=None,
        latest_charge=None,
        next_action=None,
        payment_method=None,
        payment_method_types=message.get("payment_method_types") or ["card"],
        receipt_email=message.get("receipt_email"),
        setup_future_usage=message.get("setup_future_usage"),
        status="requires_payment_method",
        metadata=forms.metadata(message),
        **fields,
    )
    return intent | {"client_secret": f"{intent['id']}_secret_{objects.new_id('s')[2:]}"}


def retrieve(call: Call, intent_id: str) -> Document:
    return objects.get_or_404(call, "payment_intent", intent_id)


def listed(call: Call) -> Document:
    filters = {"customer": call.message["customer"]} if "customer" in call.message else {}
    return objects.page(call, call.db.find("payment_intent", **filters), "/v1/payment_intents")


def update(call: Call, intent_id: str) -> Document:
    intent = retrieve(call, intent_id)
    intent |= {name: call.message[name] for name in ("description", "receipt_email") if name in call.message}
    intent["metadata"] = forms.metadata(call.message, intent["metadata"])
    if "amount" in call.message:
        if intent["status"] not in CONFIRMABLE:
            raise errors.unexpected_state("updated", intent)
        intent["amount"] = forms.positive(call.message, "amount")
        amounts.check_charge(intent["amount"], intent["currency"])
    if token := call.message.get("payment_method"):
        _set_payment_method(call, intent, token)
    return objects.save(call, intent)


def confirm(call: Call, intent_id: str) -> Document:
    intent = retrieve(call, intent_id)
    if intent["status"] not in CONFIRMABLE:
        raise errors.unexpected_state("confirmed", intent)
    if token := call.message.get("payment_method"):
        _set_payment_method(call, intent, token)
    return _confirm(call, intent)


def _set_payment_method(call: Call, intent: Document, token: str) -> None:
    method = payment_methods.resolve(call, token)
    if method.get("_detached"):
        raise errors.invalid("This PaymentMethod was previously detached and may not be used again.", "payment_method")
    if method["customer"] and method["customer"] != intent["customer"]:
        raise errors.invalid("The PaymentMethod belongs to a customer; please include it.", "payment_method")
    intent |= {"payment_method": method["id"], "status": "requires_confirmation"}


def _confirm(call: Call, intent: Document) -> Document:
    if not intent["payment_method"]:
        raise errors.invalid("You cannot confirm this PaymentIntent: it is missing a payment method.", "payment_method")
    method = objects.get_or_404(call, "payment_method", intent["payment_method"])
    unattended = forms.flag(call.message, "off_session") or forms.flag(call.message, "error_on_requires_action")
    return attempt(call, intent, method, off_session=unattended, return_url=call.message.get("return_url"))


def attempt(
    call: Call, intent: Document, method: Document, *, off_session: bool = False, return_url: str | None = None
) -> Document:
    """Charge the card. Raises a card error (402) if it declines, or requires authentication off session."""
    card = payment_methods.card_of(method)
    intent["payment_method"] = method["id"]
    if card.code:
        raise _declined(call, intent, method, card, code=card.code)
    if card.requires_authentication and off_session:
        raise _declined(call, intent, method, card, code="authentication_required")
    if card.requires_authentication:
        return require_action(call, intent, return_url=return_url)
    return settle(call, intent, method)


def settle(call: Call, intent: Document, method: Document) -> Document:
    """Capture the payment, or authorize it if the capture is manual."""
    is_manual = intent["capture_method"] == "manual"
    if intent["setup_future_usage"] and intent["customer"]:
        payment_methods.attach_to_customer(call, method, intent["customer"])
    charge = charges.create_succeeded(call, intent, method, captured=not is_manual)
    intent |= {"latest_charge": charge["id"], "last_payment_error": None, "next_action": None}
    if is_manual:
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
    else:
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    objects.save(call, intent)
    objects.emit(call, "payment_intent.amount_capturable_updated" if is_manual else "payment_intent.succeeded", intent)
    return intent


def require_action(call: Call, intent: Document, *, return_url: str | None) -> Document:
    """Require authentication by the buyer, which the hosted page of the intent provides."""
    page = f"{request.host_url}__pay/{intent['id']}"
    redirect = {"type": "redirect_to_url", "redirect_to_url": {"url": page, "return_url": return_url}}
    intent |= {"status": "requires_action", "next_action": redirect}
    objects.save(call, intent)
    objects.emit(call, "payment_intent.requires_action", intent)
    return intent


def _declined(call: Call, intent: Document, method: Document, card: payment_methods.Card, *, code: str) -> ApiError:
    charge = charges.create_failed(call, intent, method, card, code=code)
    decline_code = card.decline_code or ("authentication_required" if card.requires_authentication else None)
    shown = objects.public_view(method)
    error = {"type": "card_error", "code": code, "decline_code": decline_code, "message": card.message}
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "latest_charge": charge["id"],
        "last_payment_error": error | {"charge": charge["id"], "payment_method": shown},
    }
    objects.save(call, intent)
    objects.emit(call, "payment_intent.payment_failed", intent)
    more = {"charge": charge["id"], "payment_intent": objects.public_view(intent), "payment_method": shown}
    return errors.card_error(code, card.message, decline_code=decline_code, **more)


def capture(call: Call, intent_id: str) -> Document:
    intent = retrieve(call, intent_id)
    if intent["status"] != "requires_capture":
        raise errors.unexpected_state("captured", intent)
    amount = forms.positive(call.message, "amount_to_capture", intent["amount_capturable"])
    if amount > intent["amount_capturable"]:
        message = f"You cannot capture more than the authorized amount of {intent['amount_capturable']}."
        raise errors.invalid(message, "amount_to_capture", "amount_too_large")
    amounts.check_places(amount, intent["currency"], "amount_to_capture")
    charges.capture(call, objects.get_or_404(call, "charge", intent["latest_charge"]), amount)
    intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    for session in call.db.find("checkout.session", payment_intent=intent_id):
        objects.save(call, session | {"payment_status": "paid"})
    objects.emit(call, "payment_intent.succeeded", intent)
    return objects.save(call, intent)


def cancel(call: Call, intent_id: str) -> Document:
    intent = retrieve(call, intent_id)
    if intent["status"] not in CANCELABLE:
        raise errors.unexpected_state("canceled", intent)
    # The open page could still pay a canceled intent, so Stripe requires expiring the session instead.
    if intent["status"] != "requires_capture" and call.db.find("checkout.session", payment_intent=intent_id):
        raise errors.invalid("You cannot cancel this PaymentIntent because it was created by Checkout.", "intent")
    return canceled(call, intent, reason=call.message.get("cancellation_reason"))


def canceled(call: Call, intent: Document, *, reason: str | None) -> Document:
    """Cancel the intent and release an authorized amount."""
    intent |= {"status": "canceled", "canceled_at": int(call.now), "cancellation_reason": reason}
    intent |= {"amount_capturable": 0, "next_action": None}
    objects.save(call, intent)
    objects.emit(call, "payment_intent.canceled", intent)
    return intent
