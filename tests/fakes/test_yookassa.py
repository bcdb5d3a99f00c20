"""The fake of YooKassa, driven by the yookassa SDK."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import requests
from yookassa import Configuration, Payment, Receipt, Refund
from yookassa.domain.exceptions import (
    ApiError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
)

import settings
from ops.fakes.yookassa.notifications import TRUSTED_ADDRESS
from tests.support.polling import eventually

LONG_URL = f"https://shop.test/{'x' * 2048}"


@pytest.fixture(scope="module")
def fake(start_fake):
    return start_fake("yookassa")


@pytest.fixture(autouse=True)
def _configured(fake):
    Configuration.configure(settings.YOOKASSA_SHOP_ID, settings.YOOKASSA_SECRET_KEY, api_url=f"{fake.url}/v3")


@pytest.fixture
def order_id() -> str:
    return str(uuid.uuid4())


def rubles(value: str) -> dict:
    return {"value": value, "currency": "RUB"}


def payment_params(order_id: str, value: str = "1990.00", **more) -> dict:
    confirmation = {"type": "redirect", "return_url": "https://shop.test/back"}
    known = {"amount": rubles(value), "confirmation": confirmation, "capture": True, "description": "Woodwork"}
    return known | {"metadata": {"order_id": order_id}} | more


def paid(fake, order_id: str, **more):
    payment = Payment.create(payment_params(order_id, **more))
    assert fake.pay(payment.id, "succeed").status_code == 200
    return Payment.find_one(payment.id)


def refund_params(payment_id: str, value: str) -> dict:
    return {"payment_id": payment_id, "amount": rubles(value)}


def receipt_of(value: str) -> dict:
    line = {"description": "Woodwork", "quantity": "1", "amount": rubles(value), "vat_code": 1}
    mode = {"payment_mode": "full_payment", "payment_subject": "service"}
    return {"customer": {"email": "learner@demo.test"}, "items": [line | mode]}


def test_payment_is_confirmed_on_page_once(fake, receiver, order_id):
    payment = Payment.create(payment_params(order_id))
    assert (payment.status, payment.paid, payment.test) == ("pending", False, True)
    assert payment.confirmation.confirmation_url == f"{fake.url}/__pay/{payment.id}"
    assert "1990.00 RUB" in requests.get(payment.confirmation.confirmation_url, timeout=5).text
    assert fake.pay(payment.id, "abandon").json()["status"] == "pending"
    assert fake.pay(payment.id, "succeed").json()["status"] == "succeeded"
    assert fake.pay(payment.id, "succeed").status_code == 409
    found = Payment.find_one(payment.id)
    assert (found.status, found.refundable, str(found.income_amount.value)) == ("succeeded", True, "1920.35")
    assert [row["amount_minor"] for row in fake.payments_of(order_id)] == [199000]
    webhook = receiver.wait_for_one(payment.id, "payment.succeeded")
    assert webhook.address == TRUSTED_ADDRESS
    assert webhook.event["object"]["metadata"]["order_id"] == order_id


def test_repeated_key_returns_the_same_payment(fake, order_id):
    first = Payment.create(payment_params(order_id), order_id)
    assert Payment.create(payment_params(order_id), order_id).id == first.id
    with pytest.raises(BadRequestError) as mismatch:
        Payment.create(payment_params(order_id, "1.00"), order_id)
    assert mismatch.value.content["code"] == "invalid_request"
    shop = (settings.YOOKASSA_SHOP_ID, settings.YOOKASSA_SECRET_KEY)
    keyless = requests.post(f"{fake.url}/v3/payments", json=payment_params(order_id), auth=shop, timeout=5)
    assert (keyless.status_code, keyless.json()["parameter"]) == (400, "Idempotence-Key")


def test_declined_payment_stays_canceled(fake, receiver, order_id):
    payment = Payment.create(payment_params(order_id))
    fake.pay(payment.id, "decline")
    assert Payment.find_one(payment.id).cancellation_details.reason == "insufficient_funds"
    assert fake.pay(payment.id, "succeed").status_code == 409
    receiver.wait_for_one(payment.id, "payment.canceled")
    assert fake.payments_of(order_id) == []


def test_refunds_never_exceed_capture(fake, receiver, order_id):
    payment = paid(fake, order_id)
    refund = Refund.create(refund_params(payment.id, "1000.00"))
    receiver.wait_for_one(refund.id, "refund.succeeded")
    with pytest.raises(BadRequestError) as too_large:
        Refund.create(refund_params(payment.id, "990.01"))
    assert too_large.value.content["parameter"] == "amount"
    Refund.create(refund_params(payment.id, "990.00"))
    assert not Payment.find_one(payment.id).refundable
    assert [item.id for item in Refund.list({"payment_id": payment.id}).items][-1] == refund.id
    assert fake.payments_of(order_id)[0]["refunded_minor"] == 199000


def test_pending_refund_reserves_its_amount_until_canceled(fake, order_id):
    payment = paid(fake, order_id)
    fake.faults(pending_refunds=1)
    refund = Refund.create(refund_params(payment.id, "1990.00"))
    with pytest.raises(BadRequestError):
        Refund.create(refund_params(payment.id, "1.00"))
    fake.post(f"/__refund/{refund.id}", outcome="fail")
    assert Refund.find_one(refund.id).status == "canceled"
    assert Refund.create(refund_params(payment.id, "1990.00")).status == "succeeded"


def test_authorization_is_captured_canceled_or_expires(fake, receiver, order_id):
    authorized = [paid(fake, order_id, capture=False).id for _ in range(3)]
    receiver.wait_for_one(authorized[0], "payment.waiting_for_capture")
    with pytest.raises(BadRequestError):
        Payment.capture(authorized[0], {"amount": rubles("2000.00")})
    assert str(Payment.capture(authorized[0], {"amount": rubles("1000.00")}).amount.value) == "1000.00"
    with pytest.raises(BadRequestError):
        Payment.capture(authorized[0])
    assert Payment.cancel(authorized[1]).cancellation_details.reason == "canceled_by_merchant"
    waiting = Payment.create(payment_params(order_id))
    with pytest.raises(BadRequestError):
        Payment.cancel(waiting.id)
    fake.post("/__clock", advance_seconds=8 * 24 * 3600)
    assert Payment.find_one(authorized[2]).cancellation_details.reason == "expired_on_capture"
    assert Payment.find_one(waiting.id).cancellation_details.reason == "expired_on_confirmation"


def test_saved_card_is_charged_until_declined(fake, order_id):
    saved = paid(fake, order_id, save_payment_method=True).payment_method
    assert saved.saved
    auto = {"amount": rubles("500.00"), "payment_method_id": saved.id, "capture": True}
    assert Payment.create(auto).status == "succeeded"
    fake.post(f"/__methods/{saved.id}", declines="permission_revoked")
    assert Payment.create(auto).cancellation_details.reason == "permission_revoked"
    with pytest.raises(BadRequestError):
        Payment.create(auto | {"payment_method_id": paid(fake, order_id).id})


def test_receipt_items_must_sum_to_the_amount(fake, order_id):
    with pytest.raises(BadRequestError) as differs:
        Payment.create(payment_params(order_id, receipt=receipt_of("1989.99")))
    assert differs.value.content["parameter"] == "receipt.items"
    payment = paid(fake, order_id, receipt=receipt_of("1990.00"))
    assert payment.receipt_registration == "succeeded"
    assert len(Receipt.list({"payment_id": payment.id}).items) == 1
    fake.faults(cancel_receipts=1)
    assert paid(fake, order_id, receipt=receipt_of("1990.00")).receipt_registration == "canceled"


def test_retry_after_lost_response_charges_once(fake, order_id):
    saved = paid(fake, order_id, save_payment_method=True).payment_method.id
    auto = {"amount": rubles("500.00"), "payment_method_id": saved, "capture": True, "metadata": {"order_id": order_id}}
    fake.faults(drop_response_after_commit=1)
    # The SDK itself fails on an error without a response, so the adapter must expect this exception.
    with pytest.raises(AttributeError):
        Payment.create(auto, order_id)
    repeated = Payment.create(auto, order_id)
    assert [row["id"] for row in fake.payments_of(order_id)][1:] == [repeated.id]


def test_faults_raise_matching_sdk_errors(fake, order_id):
    for fault, error in (("error_500", InternalServerError), ("error_429", TooManyRequestsError)):
        fake.faults(**{fault: 1})
        with pytest.raises(error):
            Payment.create(payment_params(order_id))
    with pytest.raises(NotFoundError):
        Payment.find_one("2d000000-000f-5000-9000-000000000000")
    Configuration.configure(settings.YOOKASSA_SHOP_ID, "wrong", api_url=f"{fake.url}/v3")
    with pytest.raises(UnauthorizedError) as unauthorized:
        Payment.list()
    assert isinstance(unauthorized.value, ApiError)


def test_list_is_filtered_by_time_and_paged(order_id):
    payments = [Payment.create(payment_params(order_id)).id for _ in range(3)]
    since = datetime.fromisoformat(Payment.find_one(payments[0]).created_at).isoformat()
    first = Payment.list({"created_at.gte": since, "limit": 2})
    second = Payment.list({"created_at.gte": since, "limit": 2, "cursor": first.next_cursor})
    assert [payment.id for payment in [*first.items, *second.items]] == payments[::-1]
    future = (datetime.now(UTC) + timedelta(days=365)).isoformat()
    assert Payment.list({"created_at.gte": future}).items == []


def test_notification_is_retried_until_200_and_survives_crash(fake, receiver, order_id):
    receiver.fail_next = 1000
    payment = paid(fake, order_id)
    eventually(lambda: len(receiver.received(payment.id, "payment.succeeded")) > 1)
    fake.kill()
    receiver.fail_next, seen = 0, len(receiver.received(payment.id, "payment.succeeded"))
    fake.start()
    eventually(lambda: len(receiver.received(payment.id, "payment.succeeded")) > seen)
    eventually(lambda: fake.get("/__webhooks")[-1]["state"] == "delivered")


def test_forged_notification_has_chosen_sender_address(fake, receiver, order_id):
    payment = Payment.create(payment_params(order_id))
    early = {"event": "payment.succeeded", "object": {"id": payment.id, "status": "succeeded", "paid": True}}
    fake.faults(forge_webhook=early)
    assert receiver.wait_for_one(payment.id, "payment.succeeded").address == "127.0.0.1"
    fake.faults(forge_webhook=early | {"source": TRUSTED_ADDRESS})
    assert receiver.received(payment.id, "payment.succeeded")[-1].address == TRUSTED_ADDRESS
    assert Payment.find_one(payment.id).status == "pending"


@pytest.mark.parametrize(
    ("invalid", "parameter"),
    [
        ({"amount": rubles("0.99")}, "amount.value"),
        ({"amount": rubles("1e3")}, "amount.value"),
        ({"amount": rubles("10.005")}, "amount.value"),
        ({"amount": {"value": "10.00", "currency": "USD"}}, "amount.currency"),
        ({"description": "x" * 129}, "description"),
        ({"colour": "red"}, "colour"),
        ({"metadata": {f"key{n}": "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"key": "x" * 513}}, "metadata"),
        ({"confirmation": {"type": "redirect", "return_url": "shop.test/back"}}, "confirmation.return_url"),
        (
            {"confirmation": {"type": "redirect", "return_url": f"https://a.test/{'x' * 2048}"}},
            "confirmation.return_url",
        ),
        ({"receipt": receipt_of("1990.00") | {"customer": {"email": "invalid"}}}, "receipt.customer.email"),
    ],
    ids=lambda case: str(case)[:40],
)
def test_invalid_payment_is_rejected(fake, order_id, invalid, parameter):
    shop = (settings.YOOKASSA_SHOP_ID, settings.YOOKASSA_SECRET_KEY)
    key = {"Idempotence-Key": str(uuid.uuid4())}
    sent = payment_params(order_id) | invalid  # not with the SDK, which rejects some of these values
    refused = requests.post(f"{fake.url}/v3/payments", json=sent, headers=key, auth=shop, timeout=5)
    assert (refused.status_code, refused.json()["parameter"]) == (400, parameter)


@pytest.mark.parametrize(
    ("invalid", "parameter"), [({"colour": "red"}, "colour"), ({"description": "x" * 251}, "description")]
)
def test_invalid_refund_is_rejected(fake, order_id, invalid, parameter):
    payment = paid(fake, order_id)
    shop = (settings.YOOKASSA_SHOP_ID, settings.YOOKASSA_SECRET_KEY)
    key = {"Idempotence-Key": str(uuid.uuid4())}
    sent = refund_params(payment.id, "1.00") | invalid
    refused = requests.post(f"{fake.url}/v3/refunds", json=sent, headers=key, auth=shop, timeout=5)
    assert (refused.status_code, refused.json()["parameter"]) == (400, parameter)
