"""Implement payment methods and the test cards that they behave like."""

from dataclasses import dataclass

from ops.fakes.calls import Call
from ops.fakes.store import Document
from ops.fakes.stripe.api import StripeApi

from . import errors, forms, objects


@dataclass(frozen=True)
class Card:
    """The behaviour of a test card. ``can_be_saved``: saving succeeds although later charges are declined."""

    last4: str
    brand: str = "visa"
    code: str | None = None
    decline_code: str | None = None
    message: str = "Your card was declined."
    can_be_saved: bool = True
    requires_authentication: bool = False  # the bank requires authentication by the buyer


# Stripe's names: pm_card_visa is the card "visa", tok_chargeDeclined is "chargeDeclined".
CARDS = {
    "visa": Card("4242"),
    "mastercard": Card("4444", brand="mastercard"),
    "authenticationRequired": Card("3184", requires_authentication=True),
    "chargeDeclined": Card("0002", code="card_declined", decline_code="generic_decline", can_be_saved=False),
    "chargeCustomerFail": Card("0341", code="card_declined", decline_code="generic_decline"),
    "chargeDeclinedInsufficientFunds": Card(
        "9995",
        code="card_declined",
        decline_code="insufficient_funds",
        message="Your card has insufficient funds.",
        can_be_saved=False,
    ),
    "chargeDeclinedLostCard": Card("9987", code="card_declined", decline_code="lost_card", can_be_saved=False),
    "chargeDeclinedStolenCard": Card("9979", code="card_declined", decline_code="stolen_card", can_be_saved=False),
    "chargeDeclinedExpiredCard": Card(
        "0069", code="expired_card", message="Your card has expired.", can_be_saved=False
    ),
}


def routes(api: StripeApi) -> None:
    api.route("POST", "/v1/payment_methods", create)
    api.route("GET", "/v1/payment_methods", listed)
    api.route("GET", "/v1/payment_methods/<method_id>", retrieve)
    api.route("POST", "/v1/payment_methods/<method_id>", update)
    api.route("POST", "/v1/payment_methods/<method_id>/attach", attach)
    api.route("POST", "/v1/payment_methods/<method_id>/detach", detach)
    api.route("GET", "/v1/customers/<customer_id>/payment_methods", listed_of_customer)


def card_of(method: Document) -> Card:
    return CARDS[method["_card"]]


def resolve(call: Call, token: str, *, param: str = "payment_method") -> Document:
    """Return the saved method with that id, or a new one for a test token such as pm_card_visa."""
    name = token.removeprefix("pm_card_")
    if name != token and name in CARDS:
        return new(call, name)
    return objects.get_or_400(call, "payment_method", token, param)


def new(call: Call, name: str, billing_details: Document | None = None) -> Document:
    card = CARDS[name]
    empty = {"address": None, "email": None, "name": None, "phone": None}
    method = objects.new(
        call,
        "payment_method",
        "pm",
        type="card",
        customer=None,
        billing_details=empty | (billing_details or {}),
        card={
            "brand": card.brand,
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": f"fp{card.last4}",
            "funding": "credit",
            "last4": card.last4,
            "three_d_secure_usage": {"supported": True},
        },
        _card=name,
    )
    return objects.save(call, method)


def create(call: Call) -> Document:
    forms.one_of(call.message, "type", ("card",))
    given = call.message.get("card") or {}
    if "number" in given:
        raise errors.invalid(
            "Sending credit card numbers directly to the Stripe API is generally unsafe.", "card[number]"
        )
    name = str(forms.required(given, "token")).removeprefix("tok_")
    if name not in CARDS:
        raise errors.missing("token", given["token"], param="card[token]", status=400)
    method = new(call, name, call.message.get("billing_details"))
    return objects.save(call, method | {"metadata": forms.metadata(call.message)})


def retrieve(call: Call, method_id: str) -> Document:
    return objects.get_or_404(call, "payment_method", method_id)


def listed(call: Call) -> Document:
    names = [name for name in ("customer", "type") if name in call.message]
    methods = call.db.find("payment_method", **{name: call.message[name] for name in names})
    attached = [method for method in methods if method["customer"]]
    return objects.page(call, attached, "/v1/payment_methods")


def listed_of_customer(call: Call, customer_id: str) -> Document:
    objects.get_or_404(call, "customer", customer_id)
    methods = call.db.find("payment_method", customer=customer_id)
    return objects.page(call, methods, f"/v1/customers/{customer_id}/payment_methods")


def update(call: Call, method_id: str) -> Document:
    method = objects.get_or_404(call, "payment_method", method_id)
    method["billing_details"] |= call.message.get("billing_details") or {}
    method["metadata"] = forms.metadata(call.message, method["metadata"])
    return objects.save(call, method)


def attach(call: Call, method_id: str) -> Document:
    method = resolve(call, method_id)
    customer = objects.get_or_400(call, "customer", forms.required(call.message, "customer"), "customer")
    return attach_to_customer(call, method, customer["id"])


def attach_to_customer(call: Call, method: Document, customer_id: str) -> Document:
    """Attach the method to the customer. Raises a card error for a card that cannot be saved."""
    if method.get("_detached"):
        raise errors.invalid("This PaymentMethod was previously detached and may not be used again.", "payment_method")
    if method["customer"] not in (None, customer_id):
        raise errors.invalid("This PaymentMethod is attached to another customer.", "payment_method")
    card = card_of(method)
    if card.code and not card.can_be_saved:
        raise errors.card_error(card.code, card.message, decline_code=card.decline_code)
    if method["customer"] is None:
        method["customer"] = customer_id
        objects.save(call, method)
        objects.emit(call, "payment_method.attached", method)
    return method


def detach(call: Call, method_id: str) -> Document:
    method = objects.get_or_404(call, "payment_method", method_id)
    if method["customer"] is None:
        raise errors.invalid("The payment method you provided is not attached to a customer.", "payment_method")
    method |= {"customer": None, "_detached": True}
    objects.emit(call, "payment_method.detached", method)
    return objects.save(call, method)


def change_card(call: Call, method_id: str, name: str) -> Document:
    """Make a saved card behave like the test card ``name``, for example one with insufficient funds."""
    method = objects.get_or_404(call, "payment_method", method_id)
    if name not in CARDS:
        raise errors.invalid(f"No such card: {name}", "card")
    return objects.save(call, method | {"_card": name})
