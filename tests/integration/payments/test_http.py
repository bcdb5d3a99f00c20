"""Payments over HTTP: the gateway, the queue and a worker, in front of Stripe's fake."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest

import settings
from api import auth, rpc
from core import cache
from core.db import session_factory
from models.payments import PaymentAttempt
from tests.integration.payments.harness import make_offer
from tests.integration.payments.test_webhooks import SECRET, signed
from tests.support.gateway import Person, gateway, running_worker, trust_test_tokens
from workers import payments


@pytest.fixture(scope="module", autouse=True)
def payments_worker() -> Iterator[None]:
    with running_worker("payments"):
        yield


@pytest.fixture(autouse=True)
def use_fake_stripe(monkeypatch, stripe) -> None:
    monkeypatch.setattr(payments, "_PROVIDERS", {"stripe": stripe})


@pytest.fixture
def course_id() -> str:
    with session_factory("payments").begin() as session:
        return str(make_offer(session))


@pytest.fixture
def free_course_ids() -> list[str]:
    with session_factory("payments").begin() as session:
        return [str(make_offer(session, price_minor=0)) for _ in range(3)]


def make_buyer() -> Person:
    buyer = Person(gateway().test_client())
    # The users service would assign the id of a new user.
    cache.put(cache.identity_key(buyer.sub), cache.CachedView(1, str(uuid4()).encode()))
    return buyer


@pytest.fixture
def buyer(monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    return make_buyer()


def buy(buyer: Person, course_id: str, *, key: str | None = None, **fields):
    body = body_for(course_id, **fields)
    return buyer.send("POST", "/v1/checkouts", json=body, Idempotency_Key=key or uuid4().hex)


def body_for(course_id: str, **fields) -> dict:
    return {"course_id": course_id, "provider": "stripe", "success_url": "https://shop.test/done"} | fields


def test_checkout_returns_201(buyer, course_id):
    answer = buy(buyer, course_id)
    assert answer.status_code == 201
    assert set(answer.json) == {"id", "order_id", "status", "amount_minor", "currency", "redirect_url", "expires_at"}
    assert answer.json["expires_at"].endswith("Z")


def test_repeated_checkout_replays_response(buyer, course_id):
    first, repeat = (buy(buyer, course_id, key="again") for _ in range(2))
    assert (repeat.status_code, repeat.json) == (201, first.json)
    assert repeat.headers["Idempotent-Replayed"] == "true"


def test_checkout_webhook_and_sync_mark_order_paid(buyer, course_id, fake_stripe, receiver):
    checkout = buy(buyer, course_id).json
    checkout_session_id = checkout["redirect_url"].rpartition("/")[2]
    fake_stripe.pay(checkout_session_id, "succeed")
    sent = receiver.wait_for_one(checkout_session_id, "checkout.session.completed")
    assert buyer.client.post("/v1/webhooks/stripe", data=sent.body, headers=sent.headers).json == {"received": True}
    order = buyer.send("POST", f"/v1/checkouts/{checkout['id']}/sync")
    assert (order.status_code, order.json["status"]) == (200, "paid")
    assert buyer.get(f"/v1/orders/{checkout['order_id']}").json == order.json
    again = buy(buyer, course_id)
    assert (again.status_code, again.json["code"]) == (409, "already_purchased")


def test_webhooks_do_not_block_buyers(buyer):
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(rpc.bulkheads.slot("webhooks"))

        assert buyer.get("/v1/orders").status_code == 200


def test_unhandled_stripe_event_takes_no_queue_slot(buyer, monkeypatch):
    monkeypatch.setattr(settings, "STRIPE_WEBHOOK_SECRETS", (SECRET,))
    webhooks = [signed(type=type_) for type_ in ("customer.created", "payment_intent.succeeded")]

    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(rpc.bulkheads.slot("webhooks"))
        answers = [
            buyer.client.post("/v1/webhooks/stripe", data=webhook["body"], headers=webhook["headers"])
            for webhook in webhooks
        ]

    assert [answer.status_code for answer in answers] == [200, 503]
    assert answers[0].json == {"received": True}


def test_unchanged_order_returns_304(buyer, free_course_ids):
    path = f"/v1/orders/{buy(buyer, free_course_ids[0]).json['order_id']}"
    order = buyer.get(path)
    assert order.headers["ETag"] == f'"{order.json["version"]}"'
    assert buyer.get(path, If_None_Match=order.headers["ETag"]).status_code == 304


def test_payments_read_permission_shows_any_order(buyer, free_course_ids, monkeypatch):
    order_id = buy(buyer, free_course_ids[0]).json["order_id"]
    monkeypatch.setattr(auth.Caller, "permissions", frozenset({"payments:read"}))
    assert make_buyer().get(f"/v1/orders/{order_id}").json["id"] == order_id


def test_invalid_signature_returns_400(buyer):
    answer = buyer.client.post("/v1/webhooks/stripe", data=b"{}", headers={"Stripe-Signature": "t=1,v1=0"})
    assert (answer.status_code, answer.json["code"]) == (400, "signature_invalid")


def test_non_json_webhook_returns_signature_invalid(buyer):
    answer = buyer.client.post("/v1/webhooks/stripe", data=b"\xff\x00", content_type="application/octet-stream")
    assert (answer.status_code, answer.json["code"]) == (400, "signature_invalid")


def test_unknown_outcome_returns_409_with_order_id(buyer, course_id, fake_stripe):
    fake_stripe.faults(error_500=3)
    answer = buy(buyer, course_id)
    assert (answer.status_code, answer.json["code"]) == (409, "checkout_outcome_unknown")
    [order] = buyer.get("/v1/orders").json["items"]
    assert order["id"] in answer.json["detail"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"provider": "paypal"}, "/provider"),
        ({"course_id": "seven"}, "/course_id"),
        ({"success_url": "javascript:alert(1)"}, "/success_url"),
        ({"amount_minor": 1}, "/amount_minor"),
    ],
)
def test_invalid_field_returns_422_with_pointer(buyer, course_id, fields, pointer):
    answer = buyer.send("POST", "/v1/checkouts", json=body_for(course_id) | fields, Idempotency_Key=uuid4().hex)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json["errors"]] == [pointer]


def test_foreign_return_url_returns_422(buyer, course_id, monkeypatch):
    monkeypatch.setattr(settings, "RETURN_URL_ORIGINS", ("https://elsewhere.test",))
    answer = buy(buyer, course_id)
    assert (answer.status_code, answer.json["code"]) == (422, "return_url_not_allowed")


def test_checkout_requires_token_key_and_course(buyer, course_id):
    body = body_for(course_id)
    assert buyer.client.post("/v1/checkouts", json=body).status_code == 401
    answer = buyer.send("POST", "/v1/checkouts", json=body)
    assert (answer.status_code, answer.json["code"]) == (400, "idempotency_key_missing")
    assert buy(buyer, str(uuid4())).status_code == 404


def test_duplicate_course_in_plan_returns_422(buyer, course_id):
    price = {"amount_minor": 900, "currency": "USD"}
    plan = {"name": "All", "price": price, "interval": "month", "course_ids": [course_id, course_id]}
    buyer.permissions = ["payments:admin"]

    answer = buyer.send("POST", "/v1/plans", json=plan)

    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/course_ids")


def test_checkout_and_order_of_another_user_return_404(buyer, course_id):
    checkout = buy(buyer, course_id).json
    stranger = make_buyer()
    assert stranger.get(f"/v1/orders/{checkout['order_id']}").status_code == 404
    assert stranger.send("POST", f"/v1/checkouts/{checkout['id']}/sync").status_code == 404
    assert stranger.get("/v1/orders").json == {"items": [], "next_cursor": None}


def test_orders_are_paginated(buyer, free_course_ids):
    order_ids = [buy(buyer, course_id).json["order_id"] for course_id in free_course_ids]
    first = buyer.get("/v1/orders?limit=2")
    assert [order["id"] for order in first.json["items"]] == order_ids[:0:-1]
    url = first.headers["Link"].partition(">")[0].removeprefix(f"<{settings.PUBLIC_URL}")
    assert first.headers["Link"].endswith('; rel="next"')
    last = buyer.get(url)
    assert [order["id"] for order in last.json["items"]] == order_ids[:1]
    assert last.json["next_cursor"] is None
    assert "Link" not in last.headers


def test_tampered_cursor_returns_400(buyer, free_course_ids):
    for course_id in free_course_ids:
        buy(buyer, course_id)
    cursor = buyer.get("/v1/orders?limit=1").json["next_cursor"]
    for wrong in (cursor[:-2], cursor[::-1], "é", "x", json.dumps(str(UUID(int=0)))):
        answer = buyer.get(f"/v1/orders?cursor={wrong}")
        assert (answer.status_code, answer.json["code"]) == (400, "cursor_invalid")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=many", "sort=id"])
def test_invalid_query_returns_422(buyer, query):
    assert buyer.get(f"/v1/orders?{query}").status_code == 422


STAFF = frozenset({"payments:read", "payments:refund"})


@pytest.fixture
def in_review(buyer, course_id, fake_stripe) -> dict:
    """A checkout in review: the session was paid with another amount than the attempt now expects."""
    checkout = buy(buyer, course_id).json
    with session_factory("payments").begin() as session:
        session.get_one(PaymentAttempt, UUID(checkout["id"])).amount_minor = 5000
    fake_stripe.pay(checkout["redirect_url"].rpartition("/")[2], "succeed")
    order = buyer.send("POST", f"/v1/checkouts/{checkout['id']}/sync")
    assert order.json["status"] == "pending"
    return checkout


def resolve(person: Person, checkout: dict, **decision):
    path = f"/v1/payments/{checkout['id']}/resolve"
    return person.send("POST", path, json=decision, Idempotency_Key=uuid4().hex)


def test_staff_list_and_resolve_payment_in_review(buyer, in_review, monkeypatch):
    monkeypatch.setattr(auth.Caller, "permissions", STAFF)
    staff = make_buyer()
    listed = staff.get(f"/v1/payments?status=review&order_id={in_review['order_id']}").json["items"]
    assert [(each["id"], each["captured_minor"]) for each in listed] == [(in_review["id"], 4900)]

    answer = resolve(staff, in_review, action="accept", note="The buyer was shown this price.")

    assert (answer.status_code, answer.json["status"]) == (200, "succeeded")
    [decision] = staff.get(f"/v1/payments/{in_review['id']}").json["resolutions"]
    assert (decision["action"], decision["note"]) == ("accept", "The buyer was shown this price.")
    assert staff.get(f"/v1/orders/{in_review['order_id']}").json["amount_minor"] == 4900
    again = resolve(staff, in_review, action="refund", note="No.")
    assert (again.status_code, again.json["code"]) == (409, "not_in_review")


def test_inapplicable_resolution_returns_409(in_review, monkeypatch):
    monkeypatch.setattr(auth.Caller, "permissions", STAFF)

    answer = resolve(make_buyer(), in_review, action="release", note="Nothing there.")

    assert (answer.status_code, answer.json["code"]) == (409, "resolution_not_allowed")


def test_review_requires_staff_permission(buyer, in_review):
    for answer in (
        buyer.get("/v1/payments"),
        buyer.get(f"/v1/payments/{in_review['id']}"),
        buyer.get("/v1/refunds"),
        resolve(buyer, in_review, action="accept", note="Mine."),
    ):
        assert (answer.status_code, answer.json["code"]) == (403, "insufficient_permission")


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("payments", {"action": "accept"}, "/note"),
        ("payments", {"action": "accept", "note": " "}, "/note"),
        ("payments", {"action": "forget", "note": "x"}, "/action"),
        ("refunds", {"action": "refund", "note": "x"}, "/action"),
        ("disputes", {"action": "accept", "note": "x"}, "/amount_minor"),
        ("disputes", {"action": "release", "note": "x", "amount_minor": 1}, "/amount_minor"),
    ],
)
def test_invalid_resolution_returns_422_with_pointer(buyer, monkeypatch, path, body, pointer):
    monkeypatch.setattr(auth.Caller, "permissions", STAFF)

    answer = buyer.send("POST", f"/v1/{path}/{uuid4()}/resolve", json=body, Idempotency_Key=uuid4().hex)

    assert (answer.status_code, [error["pointer"] for error in answer.json["errors"]]) == (422, [pointer])


def test_refund_of_foreign_or_reviewed_payment_is_rejected(buyer, in_review, monkeypatch):
    monkeypatch.setattr(auth.Caller, "permissions", STAFF)
    path = f"/v1/orders/{in_review['order_id']}/refunds"

    def refund(payment_id: str):
        body = {"reason": "requested by the buyer", "payment_id": payment_id}
        answer = buyer.send("POST", path, json=body, Idempotency_Key=uuid4().hex)
        return answer.status_code, answer.json["code"]

    assert refund(str(uuid4())) == (422, "payment_order_mismatch")
    assert refund(in_review["id"]) == (409, "payment_in_review")
