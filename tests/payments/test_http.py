"""Payments over HTTP: the gateway, the queue and a worker, in front of Stripe's stand-in."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest

import settings
from api import auth, queue
from models import cache
from models.base import sessions
from models.payments import Attempt
from tests.gateway import Person, gateway, running_worker, trust_test_tokens
from tests.payments.shop import make_offer
from workers import payments


@pytest.fixture(scope="module", autouse=True)
def payments_worker() -> Iterator[None]:
    with running_worker("payments"):
        yield


@pytest.fixture(autouse=True)
def stripe_is_the_standin(monkeypatch, stripe) -> None:
    monkeypatch.setattr(payments, "_PROVIDERS", {"stripe": stripe})


@pytest.fixture
def course_id() -> str:
    with sessions("payments").begin() as session:
        return str(make_offer(session))


@pytest.fixture
def free_course_ids() -> list[str]:
    with sessions("payments").begin() as session:
        return [str(make_offer(session, price_minor=0)) for _ in range(3)]


def make_buyer() -> Person:
    buyer = Person(gateway().test_client())
    # The users service would give an id to whoever is new.
    cache.put(cache.identity_key(buyer.sub), cache.Stored(1, str(uuid4()).encode()))
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


def test_a_checkout_is_created(buyer, course_id):
    answer = buy(buyer, course_id)
    assert answer.status_code == 201
    assert set(answer.json) == {"id", "order_id", "status", "amount_minor", "currency", "redirect_url", "expires_at"}
    assert answer.json["expires_at"].endswith("Z")


def test_a_repeat_is_answered_as_the_first_time(buyer, course_id):
    first, repeat = (buy(buyer, course_id, key="again") for _ in range(2))
    assert (repeat.status_code, repeat.json) == (201, first.json)
    assert repeat.headers["Idempotent-Replayed"] == "true"


def test_from_checkout_to_a_paid_order(buyer, course_id, standin, receiver):
    checkout = buy(buyer, course_id).json
    page_id = checkout["redirect_url"].rpartition("/")[2]
    standin.pay(page_id, "succeed")
    sent = receiver.one(page_id, "checkout.session.completed")
    assert buyer.client.post("/v1/webhooks/stripe", data=sent.body, headers=sent.headers).json == {"received": True}
    order = buyer.send("POST", f"/v1/checkouts/{checkout['id']}/sync")
    assert (order.status_code, order.json["status"]) == (200, "paid")
    assert buyer.get(f"/v1/orders/{checkout['order_id']}").json == order.json
    again = buy(buyer, course_id)
    assert (again.status_code, again.json["code"]) == (409, "already_purchased")


def test_buyers_do_not_wait_behind_webhooks(buyer):
    with ExitStack() as waiting:
        for _ in range(2):
            waiting.enter_context(queue.bulkheads.slot("webhooks"))

        assert buyer.get("/v1/orders").status_code == 200


def test_an_order_is_not_sent_again_to_who_has_it(buyer, free_course_ids):
    path = f"/v1/orders/{buy(buyer, free_course_ids[0]).json['order_id']}"
    order = buyer.get(path)
    assert order.headers["ETag"] == f'"{order.json["version"]}"'
    assert buyer.get(path, If_None_Match=order.headers["ETag"]).status_code == 304


def test_who_may_read_payments_reads_anothers_order(buyer, free_course_ids, monkeypatch):
    order_id = buy(buyer, free_course_ids[0]).json["order_id"]
    monkeypatch.setattr(auth.Caller, "permissions", frozenset({"payments:read"}))
    assert make_buyer().get(f"/v1/orders/{order_id}").json["id"] == order_id


def test_a_bad_signature_is_a_400(buyer):
    answer = buyer.client.post("/v1/webhooks/stripe", data=b"{}", headers={"Stripe-Signature": "t=1,v1=0"})
    assert (answer.status_code, answer.json["code"]) == (400, "signature_invalid")


def test_a_body_that_is_no_json_is_a_bad_signature_too(buyer):
    answer = buyer.client.post("/v1/webhooks/stripe", data=b"\xff\x00", content_type="application/octet-stream")
    assert (answer.status_code, answer.json["code"]) == (400, "signature_invalid")


def test_an_unknown_outcome_is_a_409_that_names_the_order(buyer, course_id, standin):
    standin.faults(error_500=3)
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
def test_a_field_that_does_not_fit_is_a_422_with_its_pointer(buyer, course_id, fields, pointer):
    answer = buyer.send("POST", "/v1/checkouts", json=body_for(course_id) | fields, Idempotency_Key=uuid4().hex)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json["errors"]] == [pointer]


def test_a_foreign_return_address_is_a_422(buyer, course_id, monkeypatch):
    monkeypatch.setattr(settings, "RETURN_URL_ORIGINS", ("https://elsewhere.test",))
    answer = buy(buyer, course_id)
    assert (answer.status_code, answer.json["code"]) == (422, "return_url_refused")


def test_a_checkout_needs_a_token_an_idempotency_key_and_a_course(buyer, course_id):
    body = body_for(course_id)
    assert buyer.client.post("/v1/checkouts", json=body).status_code == 401
    answer = buyer.send("POST", "/v1/checkouts", json=body)
    assert (answer.status_code, answer.json["code"]) == (400, "idempotency_key_missing")
    assert buy(buyer, str(uuid4())).status_code == 404


def test_course_that_is_twice_in_a_plan_is_a_422(buyer, course_id):
    price = {"amount_minor": 900, "currency": "USD"}
    plan = {"name": "All", "price": price, "interval": "month", "course_ids": [course_id, course_id]}
    buyer.permissions = ["payments:admin"]

    answer = buyer.send("POST", "/v1/plans", json=plan)

    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/course_ids")


def test_what_is_anothers_is_not_found(buyer, course_id):
    checkout = buy(buyer, course_id).json
    stranger = make_buyer()
    assert stranger.get(f"/v1/orders/{checkout['order_id']}").status_code == 404
    assert stranger.send("POST", f"/v1/checkouts/{checkout['id']}/sync").status_code == 404
    assert stranger.get("/v1/orders").json == {"items": [], "next_cursor": None}


def test_orders_come_in_pages_that_lead_on(buyer, free_course_ids):
    made = [buy(buyer, course_id).json["order_id"] for course_id in free_course_ids]
    first = buyer.get("/v1/orders?limit=2")
    assert [order["id"] for order in first.json["items"]] == made[:0:-1]
    url = first.headers["Link"].partition(">")[0].removeprefix(f"<{settings.PUBLIC_URL}")
    assert first.headers["Link"].endswith('; rel="next"')
    last = buyer.get(url)
    assert [order["id"] for order in last.json["items"]] == made[:1]
    assert last.json["next_cursor"] is None
    assert "Link" not in last.headers


def test_a_cursor_that_was_tampered_with_is_a_400(buyer, free_course_ids):
    for course_id in free_course_ids:
        buy(buyer, course_id)
    cursor = buyer.get("/v1/orders?limit=1").json["next_cursor"]
    for wrong in (cursor[:-2], cursor[::-1], "é", "x", json.dumps(str(UUID(int=0)))):
        answer = buyer.get(f"/v1/orders?cursor={wrong}")
        assert (answer.status_code, answer.json["code"]) == (400, "cursor_invalid")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=many", "sort=id"])
def test_a_query_that_does_not_fit_is_a_422(buyer, query):
    assert buyer.get(f"/v1/orders?{query}").status_code == 422


STAFF = frozenset({"payments:read", "payments:refund"})


@pytest.fixture
def in_review(buyer, course_id, standin) -> dict:
    """A checkout whose page took another amount than its payment names now."""
    checkout = buy(buyer, course_id).json
    with sessions("payments").begin() as session:
        session.get_one(Attempt, UUID(checkout["id"])).amount_minor = 5000
    standin.pay(checkout["redirect_url"].rpartition("/")[2], "succeed")
    order = buyer.send("POST", f"/v1/checkouts/{checkout['id']}/sync")
    assert order.json["status"] == "pending"
    return checkout


def resolve(person: Person, checkout: dict, **decision):
    path = f"/v1/payments/{checkout['id']}/resolve"
    return person.send("POST", path, json=decision, Idempotency_Key=uuid4().hex)


def test_staff_find_a_payment_in_review_and_resolve_it(buyer, in_review, monkeypatch):
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


def test_decision_that_does_not_fit_is_a_409(in_review, monkeypatch):
    monkeypatch.setattr(auth.Caller, "permissions", STAFF)

    answer = resolve(make_buyer(), in_review, action="release", note="Nothing there.")

    assert (answer.status_code, answer.json["code"]) == (409, "resolution_refused")


def test_review_is_for_staff(buyer, in_review):
    for answer in (
        buyer.get("/v1/payments"),
        buyer.get(f"/v1/payments/{in_review['id']}"),
        buyer.get("/v1/refunds"),
        resolve(buyer, in_review, action="accept", note="Mine."),
    ):
        assert (answer.status_code, answer.json["code"]) == (403, "permission_missing")


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
def test_decision_is_validated(buyer, monkeypatch, path, body, pointer):
    monkeypatch.setattr(auth.Caller, "permissions", STAFF)

    answer = buyer.send("POST", f"/v1/{path}/{uuid4()}/resolve", json=body, Idempotency_Key=uuid4().hex)

    assert (answer.status_code, [error["pointer"] for error in answer.json["errors"]]) == (422, [pointer])


def test_refund_names_a_payment_of_its_order(buyer, in_review, monkeypatch):
    monkeypatch.setattr(auth.Caller, "permissions", STAFF)
    path = f"/v1/orders/{in_review['order_id']}/refunds"

    def refund(payment_id: str):
        body = {"reason": "asked for", "payment_id": payment_id}
        answer = buyer.send("POST", path, json=body, Idempotency_Key=uuid4().hex)
        return answer.status_code, answer.json["code"]

    assert refund(str(uuid4())) == (422, "payment_not_of_order")
    assert refund(in_review["id"]) == (409, "payment_in_review")
