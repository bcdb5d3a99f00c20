"""Act as the buyer on the hosted page of a session, or of an intent that requires authentication.

``outcome``: "succeed", "decline", "requires_action", "abandon", or "processing" (a delayed method such as a bank debit:
the session completes unpaid, and a later "succeed" or "decline" settles it). ``card`` names a test card for "succeed".
"""

from contextlib import suppress
from dataclasses import dataclass

from ops.fakes.calls import ApiError, Call
from ops.fakes.store import Document

from . import customers, forms, objects, payment_intents, payment_methods, setup_intents

OUTCOMES = ("succeed", "decline", "requires_action", "abandon", "processing")
DEFAULT_EMAIL = "learner@demo.test"


@dataclass(frozen=True)
class PageResult:
    """The result of the page: ``location`` for a browser, ``status`` and ``document`` for other clients."""

    document: Document
    location: str | None = None
    status: int = 200


def pay(call: Call, session: Document) -> PageResult:
    """Apply the outcome in ``call.message`` on the session's page.

    A session can be paid once; later requests get 409.
    """
    outcome = forms.one_of(call.message, "outcome", OUTCOMES)
    if _is_processing(call, session) and outcome in ("succeed", "decline"):
        return _settle_processing(call, session, outcome)
    if session["status"] != "open":
        return PageResult(
            _summary(session) | {"error": f"the session is {session['status']}"}, _success_url(session), 409
        )
    if outcome == "abandon":
        return PageResult(_summary(session), session["cancel_url"])
    try:
        return _attempt(call, session, outcome)
    except ApiError as refusal:
        return PageResult(_summary(session) | refusal.body, f"/__pay/{session['id']}?notice=declined")


def _attempt(call: Call, session: Document, outcome: str) -> PageResult:
    card = {"decline": "chargeDeclined", "requires_action": "authenticationRequired"}.get(outcome)
    method = payment_methods.new(call, card or call.message.get("card", "visa"), {"email": _email(call, session)})
    if session["mode"] == "setup":
        return _save_card(call, session, method)
    if session["amount_total"] == 0:
        return _complete(call, session, "no_payment_required")
    intent = _intent_of(call, session)
    if outcome == "processing":
        intent |= {"status": "processing", "payment_method": method["id"]}
        objects.save(call, intent)
        objects.emit(call, "payment_intent.processing", intent)
        return _complete(call, session, "unpaid")
    # "succeed" is also the buyer's confirmation of an intent that requires authentication.
    if outcome == "succeed" and payment_methods.card_of(method).requires_authentication:
        method = payment_methods.new(call, "visa", method["billing_details"])
    payment_intents.attempt(call, intent, method, return_url=_success_url(session))
    if intent["status"] == "requires_action":
        return PageResult(_summary(session), f"/__pay/{session['id']}?notice=confirm")
    return _complete(call, session, "paid" if intent["status"] == "succeeded" else "unpaid")


def _intent_of(call: Call, session: Document) -> Document:
    """Return the intent of the session. The first attempt creates it, and the customer if the card is to be saved."""
    if session["payment_intent"]:
        return objects.get_or_404(call, "payment_intent", session["payment_intent"])
    data = session["_payment_intent_data"]
    if not session["customer"] and (session["customer_creation"] == "always" or data.get("setup_future_usage")):
        session["customer"] = customers.create_customer(call, email=_email(call, session))["id"]
    sums = {"amount": session["amount_total"], "currency": session["currency"], "customer": session["customer"]}
    intent = objects.save(call, payment_intents.new(call, data, **sums))
    objects.emit(call, "payment_intent.created", intent)
    session["payment_intent"] = intent["id"]
    objects.save(call, session)
    return intent


def _email(call: Call, session: Document) -> str:
    customer = call.db.get(session["customer"]) if session["customer"] else None
    return session["customer_email"] or (customer or {}).get("email") or DEFAULT_EMAIL


def _save_card(call: Call, session: Document, method: Document) -> PageResult:
    setup = call.db.get(session["setup_intent"]) if session["setup_intent"] else None
    if setup is None:
        setup = setup_intents.new(call, session["_setup_intent_data"], customer=session["customer"])
        session["setup_intent"] = setup["id"]
        objects.save(call, session)
    setup_intents.settle(call, setup, method)
    return _complete(call, session, "no_payment_required")


def _complete(call: Call, session: Document, payment_status: str) -> PageResult:
    details = {"address": None, "email": _email(call, session), "name": None, "phone": None}
    session |= {"status": "complete", "payment_status": payment_status, "url": None, "customer_details": details}
    objects.save(call, session)
    objects.emit(call, "checkout.session.completed", session)
    for discount in session["discounts"]:
        coupon = objects.get_or_404(call, "coupon", discount["coupon"])
        objects.save(call, coupon | {"times_redeemed": coupon["times_redeemed"] + 1})
    return PageResult(_summary(session), _success_url(session))


def _is_processing(call: Call, session: Document) -> bool:
    intent = call.db.get(session["payment_intent"]) if session["payment_intent"] else None
    return session["status"] == "complete" and intent is not None and intent["status"] == "processing"


def _settle_processing(call: Call, session: Document, outcome: str) -> PageResult:
    intent = objects.get_or_404(call, "payment_intent", session["payment_intent"])
    method = objects.get_or_404(call, "payment_method", intent["payment_method"])
    if outcome == "succeed":
        payment_intents.settle(call, intent, method)
        session["payment_status"] = "paid"
    else:
        with suppress(ApiError):  # the decline was requested; the intent stores the error
            payment_intents.attempt(call, intent, payment_methods.new(call, "chargeDeclined"))
    objects.save(call, session)
    ending = "succeeded" if outcome == "succeed" else "failed"
    objects.emit(call, f"checkout.session.async_payment_{ending}", session)
    return PageResult(_summary(session), _success_url(session))


def _success_url(session: Document) -> str:
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _summary(session: Document) -> Document:
    return {name: session[name] for name in ("id", "status", "payment_status", "payment_intent", "setup_intent")}


def confirm_by_buyer(call: Call, intent: Document) -> PageResult:
    """Confirm or decline an intent without a session that requires authentication: "succeed" or "decline"."""
    outcome = forms.one_of(call.message, "outcome", OUTCOMES)
    summary = {"id": intent["id"], "status": intent["status"]}
    if intent["status"] != "requires_action":
        return PageResult(summary | {"error": f"the payment is {intent['status']}"}, status=409)
    return_url = intent["next_action"]["redirect_to_url"]["return_url"]
    if outcome == "succeed":
        payment_intents.settle(call, intent, objects.get_or_404(call, "payment_method", intent["payment_method"]))
    elif outcome == "decline":
        _fail_authentication(call, intent)
    return PageResult({"id": intent["id"], "status": intent["status"]}, return_url)


def _fail_authentication(call: Call, intent: Document) -> None:
    message = "We are unable to authenticate your payment method. Please choose a different payment method."
    error = {"type": "invalid_request_error", "code": "payment_intent_authentication_failure", "message": message}
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    intent["last_payment_error"] = error
    objects.save(call, intent)
    objects.emit(call, "payment_intent.payment_failed", intent)
