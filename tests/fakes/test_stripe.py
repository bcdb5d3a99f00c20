"""The fake of Stripe, driven by the stripe SDK."""

import contextlib
import threading
import time
import uuid

import pytest
import requests
import stripe

import settings
from tests.support.polling import eventually

SECRET = settings.STRIPE_WEBHOOK_SECRETS[0]


@pytest.fixture(scope="module")
def fake(start_fake):
    return start_fake("stripe")


@pytest.fixture
def make_client(fake):
    with contextlib.ExitStack() as stack:

        def make(secret_key=settings.STRIPE_SECRET_KEY, *, retries=0, timeout_seconds=5) -> stripe.StripeClient:
            session = stack.enter_context(requests.Session())
            http_client = stripe.RequestsClient(timeout=timeout_seconds, session=session)
            addresses = {"api": fake.url}
            return stripe.StripeClient(
                secret_key, base_addresses=addresses, max_network_retries=retries, http_client=http_client
            )

        yield make


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def order_id() -> str:
    return str(uuid.uuid4())


def key(value: str) -> dict:
    return {"idempotency_key": value}


def charge_params(order_id: str, amount: int = 4900, **more) -> dict:
    card = {"payment_method": "pm_card_visa", "confirm": True, "return_url": "https://shop.test/back"}
    return card | {"amount": amount, "currency": "usd", "metadata": {"order_id": order_id}} | more


def charged(client, order_id: str, amount: int = 4900, **more) -> stripe.PaymentIntent:
    return client.v1.payment_intents.create(charge_params(order_id, amount, **more))


def opened_session(client, order_id: str, **more) -> stripe.checkout.Session:
    price = {"currency": "usd", "unit_amount": 4900, "product_data": {"name": "Woodwork for beginners"}}
    return client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": 1}],
            "client_reference_id": order_id,
            "payment_intent_data": {"metadata": {"order_id": order_id}},
            "success_url": "https://shop.test/done?session={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://shop.test/cart",
        }
        | more
    )


def test_repeated_key_returns_the_same_response(fake, client, order_id):
    first = client.v1.payment_intents.create(charge_params(order_id), key(order_id))
    again = client.v1.payment_intents.create(charge_params(order_id), key(order_id))
    assert again.id == first.id
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert len(fake.payments_of(order_id)) == 1
    with pytest.raises(stripe.IdempotencyError):
        client.v1.payment_intents.create(charge_params(order_id, 5000), key(order_id))


def test_key_expires_after_a_day(fake, client, order_id):
    first = client.v1.payment_intents.create(charge_params(order_id), key(order_id))
    fake.post("/__clock", advance_seconds=24 * 3600 + 1)
    assert client.v1.payment_intents.create(charge_params(order_id), key(order_id)).id != first.id


def test_concurrent_duplicate_returns_409(fake, client, make_client, order_id):
    fake.faults(delay_ms=600)
    other = make_client()
    slow = threading.Thread(target=lambda: client.v1.payment_intents.create(charge_params(order_id), key(order_id)))
    slow.start()
    time.sleep(0.2)
    with pytest.raises(stripe.APIError) as refused:
        other.v1.payment_intents.create(charge_params(order_id), key(order_id))
    # The SDK leaves .code empty on a 409; the code is in the body.
    assert (refused.value.http_status, refused.value.error.code) == (409, "idempotency_key_in_use")
    slow.join()
    fake.faults(delay_ms=0)
    assert len(fake.payments_of(order_id)) == 1


def test_retry_after_lost_response_charges_once(fake, make_client, order_id):
    fake.faults(drop_response_after_commit=1)
    client = make_client(retries=2)
    intent = charged(client, order_id)
    assert [row["id"] for row in fake.payments_of(order_id)] == [intent.id]


def test_faults_raise_matching_sdk_errors(fake, client, make_client, order_id):
    for fault, error in (
        ("error_429", stripe.RateLimitError),
        ("error_500", stripe.APIError),
        ("drop_response_after_commit", stripe.APIConnectionError),
    ):
        fake.faults(**{fault: 1})
        with pytest.raises(error):
            client.v1.payment_intents.create(charge_params(order_id), key(order_id))
    # The first two requests were not executed. The third was executed, and its response was lost.
    assert len(fake.payments_of(order_id)) == 1
    impatient_client = make_client(timeout_seconds=0.2)
    fake.faults(delay_ms=500)
    with pytest.raises(stripe.APIConnectionError):
        impatient_client.v1.payment_intents.retrieve("pi_any")
    fake.faults(delay_ms=0)


def test_refunds_never_exceed_capture(fake, client, order_id):
    intent = charged(client, order_id)
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 4000})
    with pytest.raises(stripe.InvalidRequestError) as too_large:
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 901})
    assert too_large.value.param == "amount"
    client.v1.refunds.create({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError) as again:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert again.value.code == "charge_already_refunded"
    assert fake.payments_of(order_id)[0]["refunded_minor"] == 4900


def test_failed_refund_releases_its_amount(fake, client, receiver, order_id):
    intent = charged(client, order_id)
    fake.faults(pending_refunds=1)
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"
    fake.post(f"/__refund/{refund.id}", outcome="fail")
    receiver.wait_for_one(refund.id, "refund.failed")
    assert client.v1.refunds.create({"payment_intent": intent.id}).status == "succeeded"


def test_declined_card_is_replayed_for_its_key(fake, client, order_id):
    params = charge_params(order_id, payment_method="pm_card_chargeDeclinedInsufficientFunds")
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            client.v1.payment_intents.create(params, key(order_id))
        error = declined.value.error
        assert (error.code, error.decline_code) == ("card_declined", "insufficient_funds")
    intent = client.v1.payment_intents.retrieve(error.payment_intent.id, {"expand": ["latest_charge"]})
    assert (intent.status, intent.latest_charge.status) == ("requires_payment_method", "failed")
    assert fake.payments_of(order_id) == []


def test_checkout_session_is_paid_once(fake, client, receiver, order_id):
    session = opened_session(client, order_id)
    assert session.payment_intent is None
    assert session.url == f"{fake.url}/__pay/{session.id}"
    declined = fake.pay(session.id, "decline").json()
    assert declined["error"]["code"] == "card_declined"
    assert fake.pay(session.id, "requires_action").json()["status"] == "open"
    assert fake.pay(session.id, "succeed").json()["payment_status"] == "paid"
    assert fake.pay(session.id, "succeed").status_code == 409
    paid = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge", "line_items"]})
    assert (paid.status, paid.payment_intent.latest_charge.amount_captured) == ("complete", 4900)
    assert paid.line_items.data[0].description == "Woodwork for beginners"
    assert len(fake.payments_of(order_id)) == 1
    receiver.wait_for_one(session.id, "checkout.session.completed")
    for kind in ("payment_failed", "requires_action", "succeeded"):
        receiver.wait_for_one(paid.payment_intent.id, f"payment_intent.{kind}")


def submitted(url: str, outcome: str) -> requests.Response:
    """Submit the form like a browser and return the response."""
    accept = {"Accept": "text/html,*/*"}
    return requests.post(url, data={"outcome": outcome}, headers=accept, timeout=5, allow_redirects=False)


def test_browser_is_redirected_to_the_shop(client, order_id):
    session = opened_session(client, order_id)
    page = requests.get(session.url, timeout=5)
    assert "Woodwork for beginners" in page.text
    assert "49.00 USD" in page.text
    abandoned = submitted(session.url, "abandon")
    assert (abandoned.status_code, abandoned.headers["Location"]) == (303, "https://shop.test/cart")
    paid = submitted(session.url, "succeed")
    assert paid.headers["Location"] == f"https://shop.test/done?session={session.id}"


def test_unpaid_session_expires_by_time_and_on_request(fake, client, receiver, order_id):
    by_hand, by_time = opened_session(client, order_id), opened_session(client, order_id)
    assert client.v1.checkout.sessions.expire(by_hand.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.expire(by_hand.id)
    fake.post("/__clock", advance_seconds=24 * 3600)
    receiver.wait_for_one(by_time.id, "checkout.session.expired")
    assert fake.pay(by_time.id, "succeed").status_code == 409
    with pytest.raises(stripe.InvalidRequestError, match="at least 30 minutes"):
        opened_session(client, order_id, expires_at=int(time.time()))


def test_delayed_method_settles_after_session_completion(fake, client, receiver, order_id):
    session = opened_session(client, order_id)
    assert fake.pay(session.id, "processing").json()["payment_status"] == "unpaid"
    assert fake.payments_of(order_id) == []
    assert fake.pay(session.id, "succeed").json()["payment_status"] == "paid"
    receiver.wait_for_one(session.id, "checkout.session.async_payment_succeeded")


def test_saved_card_is_charged_off_session_until_declined(fake, client, order_id):
    customer = client.v1.customers.create({"email": "learner@demo.test"})
    session = client.v1.checkout.sessions.create(
        {"mode": "setup", "customer": customer.id, "currency": "usd", "success_url": "https://shop.test/done"}
    )
    setup_id = fake.pay(session.id, "succeed").json()["setup_intent"]
    method_id = client.v1.setup_intents.retrieve(setup_id).payment_method
    assert [method.id for method in client.v1.payment_methods.list({"customer": customer.id}).data] == [method_id]
    saved = {"payment_method": method_id, "customer": customer.id, "off_session": True}
    assert charged(client, order_id, **saved).status == "succeeded"
    fake.post(f"/__methods/{method_id}", card="authenticationRequired")
    with pytest.raises(stripe.CardError) as declined:
        charged(client, order_id, **saved)
    assert declined.value.code == "authentication_required"


def test_authorization_is_captured_or_canceled(fake, client, order_id):
    authorization = charged(client, order_id, capture_method="manual")
    assert (authorization.status, authorization.amount_capturable) == ("requires_capture", 4900)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.capture(authorization.id, {"amount_to_capture": 5000})
    assert client.v1.payment_intents.capture(authorization.id, {"amount_to_capture": 4000}).amount_received == 4000
    for change in (client.v1.payment_intents.capture, client.v1.payment_intents.cancel):
        with pytest.raises(stripe.InvalidRequestError) as late:
            change(authorization.id)
        assert late.value.code == "payment_intent_unexpected_state"
    voided = charged(client, order_id, capture_method="manual")
    client.v1.payment_intents.cancel(voided.id)
    assert [row["amount_minor"] for row in fake.payments_of(order_id)] == [4000]


def test_dispute_opens_and_closes(fake, client, receiver, order_id):
    intent = charged(client, order_id)
    dispute = fake.post(f"/__dispute/{intent.id}")
    receiver.wait_for_one(dispute["id"], "charge.dispute.created")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"
    fake.post(f"/__dispute/{intent.id}", outcome="lost")
    assert receiver.wait_for_one(dispute["id"], "charge.dispute.closed").event["data"]["object"]["status"] == "lost"


def test_coupon_reduces_total_and_is_used_once(fake, client, order_id):
    coupon = client.v1.coupons.create({"percent_off": 100, "duration": "once", "max_redemptions": 1})
    session = opened_session(client, order_id, discounts=[{"coupon": coupon.id}])
    assert session.amount_total == 0
    assert fake.pay(session.id, "succeed").json()["payment_status"] == "no_payment_required"
    with pytest.raises(stripe.InvalidRequestError) as used_up:
        opened_session(client, order_id, discounts=[{"coupon": coupon.id}])
    assert used_up.value.code == "coupon_expired"


def test_errors_match_stripe(client, make_client, order_id):
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.payment_intents.retrieve("pi_unknown")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        charged(client, order_id, colour="red")
    assert unknown.value.code == "parameter_unknown"
    other_account = make_client("sk_other")
    with pytest.raises(stripe.AuthenticationError):
        other_account.v1.events.list()


def test_list_pagination_returns_every_object(client, order_id):
    customer = client.v1.customers.create({"email": "pages@example.com"})
    charges = [charged(client, order_id, customer=customer.id).id for _ in range(5)]
    listed = client.v1.payment_intents.list({"customer": customer.id, "limit": 2})
    assert [intent.id for intent in listed.auto_paging_iter()] == charges[::-1]


def test_webhook_is_signed_and_retried_until_accepted(client, receiver, order_id):
    receiver.fail_next = 10
    intent = charged(client, order_id)
    undelivered = client.v1.events.list({"delivery_success": False, "types": ["payment_intent.succeeded"]})
    assert intent.id in [event.data.object.id for event in undelivered.data]
    receiver.fail_next = 2
    received = eventually(lambda: receiver.fail_next == 0 and receiver.received(intent.id, "payment_intent.succeeded"))
    event = stripe.Webhook.construct_event(received[-1].body, received[-1].headers["Stripe-Signature"], SECRET)
    assert event.type == "payment_intent.succeeded"
    eventually(lambda: client.v1.events.retrieve(event.id).pending_webhooks == 0)


def test_undelivered_event_survives_crash(fake, client, receiver, order_id):
    receiver.fail_next = 1000
    intent = charged(client, order_id)
    fake.kill()
    receiver.fail_next = 0
    seen = len(receiver.received(intent.id, "payment_intent.succeeded"))
    fake.start()
    eventually(lambda: len(receiver.received(intent.id, "payment_intent.succeeded")) > seen)
    assert len(fake.payments_of(order_id)) == 1


def test_webhooks_can_be_duplicated_dropped_and_reordered(fake, client, receiver, order_id):
    eventually(lambda: {w["state"] for w in fake.get("/__webhooks")} == {"delivered"})
    fake.faults(duplicate_webhooks=3)
    doubled = charged(client, order_id)
    eventually(lambda: len(receiver.received(doubled.id, "payment_intent.succeeded")) == 2)
    fake.faults(drop_webhooks=3)
    dropped = charged(client, order_id)
    eventually(lambda: [w["state"] for w in fake.get("/__webhooks")][-3:] == ["dropped"] * 3)
    assert receiver.received(dropped.id, "payment_intent.succeeded") == []
    fake.faults(resend=True)
    receiver.wait_for_one(dropped.id, "payment_intent.succeeded")
    fake.faults(resend=False, reorder_webhooks=True)
    reordered = charged(client, order_id)
    receiver.wait_for_one(reordered.id, "payment_intent.created")
    fake.faults(reorder_webhooks=False)
    kinds = [w.event["type"] for w in receiver.webhooks[-3:]]
    assert kinds == ["payment_intent.succeeded", "charge.succeeded", "payment_intent.created"]


def test_forged_webhook_has_invalid_signature(fake, receiver):
    fake.faults(forge_webhook={"type": "payment_intent.succeeded", "object": {"id": "pi_forged", "amount": 1}})
    forged = receiver.wait_for_one("pi_forged", "payment_intent.succeeded")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(forged.body, forged.headers["Stripe-Signature"], SECRET)


@pytest.mark.parametrize(
    ("invalid", "code"),
    [
        ({"currency": "zzz"}, None),
        ({"amount": 49}, "amount_too_small"),
        ({"amount": 10**8}, "amount_too_large"),
        ({"amount": 12345, "currency": "kwd"}, None),
        ({"amount": 12345, "currency": "isk"}, None),
        ({"metadata": {f"key{n}": "x" for n in range(51)}}, None),
        ({"metadata": {"k" * 41: "x"}}, None),
        ({"metadata": {"key": "x" * 501}}, None),
        ({"description": "x" * 5001}, None),
        ({"off_session": True, "confirm": False}, None),
    ],
    ids=lambda case: str(case)[:40],
)
def test_invalid_payment_is_rejected(client, order_id, invalid, code):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        charged(client, order_id, **invalid)
    assert (refused.value.http_status, refused.value.code) == (400, code)


def with_line(**price: object) -> dict:
    data = {"currency": "usd", "unit_amount": 4900, "product_data": {"name": "Woodwork"}} | price
    return {"line_items": [{"price_data": data, "quantity": 1}]}


@pytest.mark.parametrize(
    "invalid",
    [
        with_line(colour="red"),
        with_line(product_data={"name": "Woodwork", "colour": "red"}),
        with_line(product_data={"name": "x" * 5001}),
        with_line(unit_amount=49),
        with_line(unit_amount=12345, currency="ugx"),
        {"line_items": with_line()["line_items"] * 101},
        {"client_reference_id": "x" * 201},
        {"payment_intent_data": {"colour": "red"}},
        {"payment_intent_data": {"metadata": {"key": "x" * 501}}},
    ],
    ids=range(9),
)
def test_invalid_checkout_session_is_rejected(client, order_id, invalid):
    with pytest.raises(stripe.InvalidRequestError):
        opened_session(client, order_id, **invalid)


def test_three_decimal_refund_must_end_in_zero(client, order_id):
    intent = charged(client, order_id, 12340, currency="kwd")
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 1234})
    assert client.v1.refunds.create({"payment_intent": intent.id, "amount": 1230}).status == "succeeded"


def test_detached_card_cannot_be_charged(client, order_id):
    customer = client.v1.customers.create({"email": "learner@demo.test"})
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    client.v1.payment_methods.detach(method.id)
    with pytest.raises(stripe.InvalidRequestError, match="detached"):
        charged(client, order_id, payment_method=method.id)


@pytest.mark.parametrize("noun", ["checkout.sessions", "refunds", "disputes", "charges"])
def test_list_of_unknown_payment_is_resource_missing(client, noun):
    resource = client.v1
    for part in noun.split("."):
        resource = getattr(resource, part)
    with pytest.raises(stripe.InvalidRequestError) as missing:
        resource.list({"payment_intent": "pi_unknown"})
    assert missing.value.code == "resource_missing"


def test_foreign_events_are_sent_and_listed(fake, client, receiver):
    balance = fake.post("/__events/balance.available", object={"object": "balance"})
    thin = fake.post("/__events/v1.billing.meter.no_meter_found", data=None, object="v2.core.event")
    eventually(lambda: {balance["id"], thin["id"]} <= {webhook.event["id"] for webhook in receiver.webhooks})
    assert client.v1.events.list({"types": ["balance.available"], "limit": 1}).data[0].id == balance["id"]
