"""Implement setup intents, which save a card without charging it."""

from typing import Any

from ops.fakes.calls import Call
from ops.fakes.store import Document
from ops.fakes.stripe.api import StripeApi

from . import errors, forms, objects, payment_methods

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


def routes(api: StripeApi) -> None:
    api.route("POST", "/v1/setup_intents", create)
    api.route("GET", "/v1/setup_intents", listed)
    api.route("GET", "/v1/setup_intents/<setup_id>", retrieve)
    api.route("POST", "/v1/setup_intents/<setup_id>/confirm", confirm)
    api.route("POST", "/v1/setup_intents/<setup_id>/cancel", cancel)


def new(call: Call, message: Document, **fields: Any) -> Document:
    """Return an unsaved setup intent from ``message``."""
    setup = objects.new(
        call,
        "setup_intent",
        "seti",
        cancellation_reason=None,
        description=message.get("description"),
        last_setup_error=None,
        latest_attempt=None,
        next_action=None,
        payment_method=None,
        payment_method_types=message.get("payment_method_types") or ["card"],
        status="requires_payment_method",
        usage=message.get("usage") or "off_session",
        metadata=forms.metadata(message),
        **fields,
    )
    return setup | {"client_secret": f"{setup['id']}_secret_{objects.new_id('s')[2:]}"}


def create(call: Call) -> Document:
    if customer := call.message.get("customer"):
        objects.get_or_400(call, "customer", customer, "customer")
    setup = objects.save(call, new(call, call.message, customer=customer))
    objects.emit(call, "setup_intent.created", setup)
    if token := call.message.get("payment_method"):
        setup |= {"payment_method": payment_methods.resolve(call, token)["id"], "status": "requires_confirmation"}
        objects.save(call, setup)
    return _confirm(call, setup) if forms.flag(call.message, "confirm") else setup


def retrieve(call: Call, setup_id: str) -> Document:
    return objects.get_or_404(call, "setup_intent", setup_id)


def listed(call: Call) -> Document:
    filters = {"customer": call.message["customer"]} if "customer" in call.message else {}
    return objects.page(call, call.db.find("setup_intent", **filters), "/v1/setup_intents")


def confirm(call: Call, setup_id: str) -> Document:
    setup = retrieve(call, setup_id)
    if setup["status"] not in OPEN:
        raise errors.unexpected_state("confirmed", setup)
    if token := call.message.get("payment_method"):
        setup["payment_method"] = payment_methods.resolve(call, token)["id"]
    return _confirm(call, setup)


def _confirm(call: Call, setup: Document) -> Document:
    if not setup["payment_method"]:
        raise errors.invalid("This SetupIntent is missing a payment method.", "payment_method")
    return settle(call, setup, objects.get_or_404(call, "payment_method", setup["payment_method"]))


def settle(call: Call, setup: Document, method: Document) -> Document:
    """Save the card for the setup's customer. Raises a card error (402) if it is declined."""
    card = payment_methods.card_of(method)
    if card.code and not card.can_be_saved:
        error = {"type": "card_error", "code": card.code, "decline_code": card.decline_code, "message": card.message}
        setup |= {"status": "requires_payment_method", "payment_method": None, "last_setup_error": error}
        objects.save(call, setup)
        objects.emit(call, "setup_intent.setup_failed", setup)
        more = {"decline_code": card.decline_code, "setup_intent": objects.public_view(setup)}
        raise errors.card_error(card.code, card.message, **more)
    if setup["customer"]:
        payment_methods.attach_to_customer(call, method, setup["customer"])
    setup |= {"status": "succeeded", "payment_method": method["id"], "last_setup_error": None}
    objects.save(call, setup)
    objects.emit(call, "setup_intent.succeeded", setup)
    return setup


def cancel(call: Call, setup_id: str) -> Document:
    setup = retrieve(call, setup_id)
    if setup["status"] not in OPEN:
        raise errors.unexpected_state("canceled", setup)
    setup |= {"status": "canceled", "cancellation_reason": call.message.get("cancellation_reason")}
    objects.emit(call, "setup_intent.canceled", setup)
    return objects.save(call, setup)
