"""A plan: paid for on a page, renewed as months pass, past due and paid again, given up."""

from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.support.platform import Person

from .shop import Shop, Visitor, eventually

pytestmark = pytest.mark.flow


@pytest.fixture
def admin(shop: Shop) -> Person:
    return shop.platform.person("admin@demo.test")


@pytest.fixture
def learner(shop: Shop) -> Visitor:
    learner = shop.learner()
    learner.profile()
    return learner


@pytest.fixture
def plan(shop: Shop, admin: Person) -> dict[str, Any]:
    return make_plan(shop, admin)


def make_plan(shop: Shop, admin: Person, **fields: Any) -> dict[str, Any]:
    paid = [course["id"] for course in shop.courses() if course["price"]["amount_minor"]]
    price = {"amount_minor": 99000, "currency": "RUB"}
    answer = admin.post(
        "/v1/plans", {"name": "Two a month", "price": price, "interval": "month", "course_ids": paid[:2], **fields}
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def subscribe(learner: Visitor, plan: dict[str, Any], provider: str) -> str:
    """Pay the first period on a page; returns the subscription's id."""
    wish = {"plan_id": plan["id"], "provider": provider}
    checkout = learner.post("/v1/checkouts", wish, key=uuid4().hex)
    assert checkout.status_code == 201, checkout.text
    learner.shop.pay(checkout.json()["redirect_url"])
    [subscription] = eventually(lambda: learner.get("/v1/me/subscriptions").json()["items"])
    return str(subscription["id"])


def shown(learner: Visitor, subscription_id: str) -> dict[str, Any]:
    return dict(learner.get(f"/v1/subscriptions/{subscription_id}").json())


def let_pass(shop: Shop, *, days: int) -> None:
    """Move the clock, and have the job run that looks at it."""
    clock = shop.platform.clock
    requests.post(f"{clock}/__clock", json={"advance_seconds": days * 86400}, timeout=5).raise_for_status()
    run = requests.post(f"{clock}/__jobs/payments.advance_subscriptions/run", timeout=40)
    assert run.json()["finished"]


def access(learner: Visitor, plan: dict[str, Any]) -> list[bool]:
    return [learner.get(f"/v1/me/courses/{course}/access").json()["access"] for course in plan["course_ids"]]


@pytest.mark.parametrize("provider", ["stripe", "yookassa"])
def test_a_plan_opens_its_courses_is_renewed_and_ends_by_notice(
    shop: Shop, learner: Visitor, plan: dict[str, Any], provider: str
) -> None:
    subscription_id = subscribe(learner, plan, provider)
    first = shown(learner, subscription_id)
    assert (first["status"], first["cancel_at_period_end"]) == ("active", False)
    eventually(lambda: access(learner, plan) == [True, True])
    let_pass(shop, days=31)
    renewed = eventually(
        lambda: (now := shown(learner, subscription_id))["period_start"] == first["period_end"] and now
    )
    orders = learner.get("/v1/orders").json()["items"]
    assert [(order["status"], order["subscription_id"]) for order in orders] == [("paid", subscription_id)] * 2
    assert sum(len(shop.charges(order["id"])) for order in orders) == 2
    assert learner.post(f"/v1/subscriptions/{subscription_id}/cancel").json()["cancel_at_period_end"]
    assert access(learner, plan) == [True, True]
    let_pass(shop, days=31)
    eventually(lambda: access(learner, plan) == [False, False])
    ended = shown(learner, subscription_id)
    assert (ended["status"], ended["period_end"]) == ("canceled", renewed["period_end"])


def test_a_declined_card_is_past_due_until_it_pays(shop: Shop, learner: Visitor, plan: dict[str, Any]) -> None:
    subscription_id = subscribe(learner, plan, "yookassa")
    [order] = learner.get("/v1/orders").json()["items"]
    [payment] = shop.charges(order["id"])
    method = f"{shop.platform.yookassa}/__methods/{payment['id']}"
    requests.post(method, json={"declines": "insufficient_funds"}, timeout=5).raise_for_status()
    let_pass(shop, days=31)
    eventually(lambda: shown(learner, subscription_id)["status"] == "past_due")
    assert all(access(learner, plan))
    requests.post(method, json={"declines": None}, timeout=5).raise_for_status()
    let_pass(shop, days=2)
    eventually(lambda: shown(learner, subscription_id)["status"] == "active")


def test_a_trial_needs_no_card(shop: Shop, learner: Visitor, admin: Person) -> None:
    plan = make_plan(shop, admin, trial_days=14)
    begun = learner.post("/v1/subscriptions", {"plan_id": plan["id"], "provider": "stripe"}, key=uuid4().hex)
    assert (begun.status_code, begun.json()["status"]) == (201, "trialing")
    eventually(lambda: all(access(learner, plan)))
    let_pass(shop, days=14)
    eventually(lambda: not any(access(learner, plan)))


def test_a_full_refund_ends_a_subscription_and_one_that_comes_back_opens_it_again(
    shop: Shop, learner: Visitor, plan: dict[str, Any], admin: Person
) -> None:
    subscription_id = subscribe(learner, plan, "stripe")
    eventually(lambda: access(learner, plan) == [True, True])
    [order] = learner.get("/v1/orders").json()["items"]
    wish = {"reason": "changed their mind"}
    refund = admin.post(f"/v1/orders/{order['id']}/refunds", wish, Idempotency_Key=uuid4().hex)
    assert refund.status_code == 201, refund.text
    eventually(lambda: access(learner, plan) == [False, False])
    ended = shown(learner, subscription_id)
    assert (ended["status"], ended["problem"]) == ("canceled", "refunded")
    [payment] = shop.charges(order["id"])
    state = requests.get(f"{shop.platform.stripe}/__state", timeout=5).json()
    [made] = [each["id"] for each in state["refunds"] if each["payment_id"] == payment["id"]]
    requests.post(f"{shop.platform.stripe}/__refund/{made}", json={"outcome": "fail"}, timeout=5).raise_for_status()
    eventually(lambda: access(learner, plan) == [True, True])
    again = shown(learner, subscription_id)
    assert (again["status"], again["cancel_at_period_end"]) == ("active", True)
    let_pass(shop, days=31)
    eventually(lambda: access(learner, plan) == [False, False])
    assert len(learner.get("/v1/orders").json()["items"]) == 1


def test_bad_wishes_are_refused(shop: Shop, learner: Visitor, plan: dict[str, Any], admin: Person) -> None:
    def refusal(path: str, body: Any, key: str | None = "") -> tuple[int, str]:
        answer = learner.post(path, body, key=uuid4().hex if key == "" else key)
        return answer.status_code, answer.json()["code"]

    wish = {"plan_id": plan["id"], "provider": "stripe"}
    assert refusal("/v1/subscriptions", wish) == (409, "payment_method_missing")
    assert refusal("/v1/subscriptions", wish, key=None) == (400, "idempotency_key_missing")
    assert refusal("/v1/subscriptions", {**wish, "plan_id": str(uuid4())}) == (404, "not_found")
    assert refusal("/v1/checkouts", {**wish, "course_id": plan["course_ids"][0]})[0] == 422
    assert refusal("/v1/checkouts", {"provider": "stripe"})[0] == 422
    assert refusal("/v1/plans", {}) == (403, "permission_missing")
    assert learner.post(f"/v1/subscriptions/{uuid4()}/cancel").status_code == 404
    path = f"/v1/plans/{plan['id']}"
    assert admin.send("PATCH", path, {"on_sale": False}).status_code == 428
    closed = admin.send("PATCH", path, {"on_sale": False}, If_Match=admin.get(path).headers["ETag"])
    assert (closed.status_code, closed.json()["on_sale"]) == (200, False)
    assert refusal("/v1/checkouts", wish) == (404, "not_found")
