"""A plan: paid at a checkout session, renewed monthly, past due and paid again, canceled."""

from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.support.platform import Person

from .harness import ScenarioHarness, Visitor, eventually


@pytest.fixture
def admin(harness: ScenarioHarness) -> Person:
    return harness.platform.person("admin@demo.test")


@pytest.fixture
def learner(harness: ScenarioHarness) -> Visitor:
    learner = harness.learner()
    learner.profile()
    return learner


@pytest.fixture
def plan(harness: ScenarioHarness, admin: Person) -> dict[str, Any]:
    return make_plan(harness, admin)


def make_plan(harness: ScenarioHarness, admin: Person, **fields: Any) -> dict[str, Any]:
    paid = [course["id"] for course in harness.courses() if course["price"]["amount_minor"]]
    price = {"amount_minor": 99000, "currency": "RUB"}
    answer = admin.post(
        "/v1/plans", {"name": "Two a month", "price": price, "interval": "month", "course_ids": paid[:2], **fields}
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def subscribe(learner: Visitor, plan: dict[str, Any], provider: str) -> str:
    """Pay the first period at a checkout session; returns the subscription's id."""
    request_body = {"plan_id": plan["id"], "provider": provider}
    checkout = learner.post("/v1/checkouts", request_body, key=uuid4().hex)
    assert checkout.status_code == 201, checkout.text
    learner.harness.pay(checkout.json()["redirect_url"])
    [subscription] = eventually(lambda: learner.get("/v1/me/subscriptions").json()["items"])
    return str(subscription["id"])


def get_subscription(learner: Visitor, subscription_id: str) -> dict[str, Any]:
    return dict(learner.get(f"/v1/subscriptions/{subscription_id}").json())


def advance_clock(harness: ScenarioHarness, *, days: int) -> None:
    """Advance the clock and run the job that processes due subscriptions."""
    clock = harness.platform.clock
    requests.post(f"{clock}/__clock", json={"advance_seconds": days * 86400}, timeout=5).raise_for_status()
    run = requests.post(f"{clock}/__jobs/payments.process_due_subscriptions/run", timeout=40)
    assert run.json()["finished"]


def access(learner: Visitor, plan: dict[str, Any]) -> list[bool]:
    return [learner.get(f"/v1/me/courses/{course}/access").json()["access"] for course in plan["course_ids"]]


@pytest.mark.parametrize("provider", ["stripe", "yookassa"])
def test_plan_grants_access_renews_and_ends_after_cancellation(
    harness: ScenarioHarness, learner: Visitor, plan: dict[str, Any], provider: str
) -> None:
    subscription_id = subscribe(learner, plan, provider)
    first = get_subscription(learner, subscription_id)
    assert (first["status"], first["cancel_at_period_end"]) == ("active", False)
    eventually(lambda: access(learner, plan) == [True, True])
    advance_clock(harness, days=31)
    renewed = eventually(
        lambda: (now := get_subscription(learner, subscription_id))["period_start"] == first["period_end"] and now
    )
    orders = learner.get("/v1/orders").json()["items"]
    assert [(order["status"], order["subscription_id"]) for order in orders] == [("paid", subscription_id)] * 2
    assert sum(len(harness.charges(order["id"])) for order in orders) == 2
    assert learner.post(f"/v1/subscriptions/{subscription_id}/cancel").json()["cancel_at_period_end"]
    assert access(learner, plan) == [True, True]
    advance_clock(harness, days=31)
    eventually(lambda: access(learner, plan) == [False, False])
    ended = get_subscription(learner, subscription_id)
    assert (ended["status"], ended["period_end"]) == ("canceled", renewed["period_end"])


def test_declined_card_is_past_due_until_charged(
    harness: ScenarioHarness, learner: Visitor, plan: dict[str, Any]
) -> None:
    subscription_id = subscribe(learner, plan, "yookassa")
    [order] = learner.get("/v1/orders").json()["items"]
    [payment] = harness.charges(order["id"])
    method = f"{harness.platform.yookassa}/__methods/{payment['id']}"
    requests.post(method, json={"declines": "insufficient_funds"}, timeout=5).raise_for_status()
    advance_clock(harness, days=31)
    eventually(lambda: get_subscription(learner, subscription_id)["status"] == "past_due")
    assert all(access(learner, plan))
    requests.post(method, json={"declines": None}, timeout=5).raise_for_status()
    advance_clock(harness, days=2)
    eventually(lambda: get_subscription(learner, subscription_id)["status"] == "active")


def test_trial_needs_no_card(harness: ScenarioHarness, learner: Visitor, admin: Person) -> None:
    plan = make_plan(harness, admin, trial_days=14)
    started = learner.post("/v1/subscriptions", {"plan_id": plan["id"], "provider": "stripe"}, key=uuid4().hex)
    assert (started.status_code, started.json()["status"]) == (201, "trialing")
    eventually(lambda: all(access(learner, plan)))
    advance_clock(harness, days=14)
    eventually(lambda: not any(access(learner, plan)))


def test_refund_ends_subscription_and_reversal_restores_it(
    harness: ScenarioHarness, learner: Visitor, plan: dict[str, Any], admin: Person
) -> None:
    subscription_id = subscribe(learner, plan, "stripe")
    eventually(lambda: access(learner, plan) == [True, True])
    [order] = learner.get("/v1/orders").json()["items"]
    request_body = {"reason": "changed their mind"}
    refund = admin.post(f"/v1/orders/{order['id']}/refunds", request_body, Idempotency_Key=uuid4().hex)
    assert refund.status_code == 201, refund.text
    eventually(lambda: access(learner, plan) == [False, False])
    ended = get_subscription(learner, subscription_id)
    assert (ended["status"], ended["problem"]) == ("canceled", "refunded")
    [payment] = harness.charges(order["id"])
    state = requests.get(f"{harness.platform.stripe}/__state", timeout=5).json()
    [refund_id] = [each["id"] for each in state["refunds"] if each["payment_id"] == payment["id"]]
    requests.post(
        f"{harness.platform.stripe}/__refund/{refund_id}", json={"outcome": "fail"}, timeout=5
    ).raise_for_status()
    eventually(lambda: access(learner, plan) == [True, True])
    again = get_subscription(learner, subscription_id)
    assert (again["status"], again["cancel_at_period_end"]) == ("active", True)
    advance_clock(harness, days=31)
    eventually(lambda: access(learner, plan) == [False, False])
    assert len(learner.get("/v1/orders").json()["items"]) == 1


def test_invalid_subscription_requests_are_rejected(
    harness: ScenarioHarness, learner: Visitor, plan: dict[str, Any], admin: Person
) -> None:
    def refusal(path: str, body: Any, key: str | None = "") -> tuple[int, str]:
        answer = learner.post(path, body, key=uuid4().hex if key == "" else key)
        return answer.status_code, answer.json()["code"]

    request_body = {"plan_id": plan["id"], "provider": "stripe"}
    assert refusal("/v1/subscriptions", request_body) == (409, "payment_method_missing")
    assert refusal("/v1/subscriptions", request_body, key=None) == (400, "idempotency_key_missing")
    assert refusal("/v1/subscriptions", {**request_body, "plan_id": str(uuid4())}) == (404, "not_found")
    assert refusal("/v1/checkouts", {**request_body, "course_id": plan["course_ids"][0]})[0] == 422
    assert refusal("/v1/checkouts", {"provider": "stripe"})[0] == 422
    assert refusal("/v1/plans", {}) == (403, "insufficient_permission")
    assert learner.post(f"/v1/subscriptions/{uuid4()}/cancel").status_code == 404
    path = f"/v1/plans/{plan['id']}"
    assert admin.send("PATCH", path, {"on_sale": False}).status_code == 428
    closed = admin.send("PATCH", path, {"on_sale": False}, If_Match=admin.get(path).headers["ETag"])
    assert (closed.status_code, closed.json()["on_sale"]) == (200, False)
    assert refusal("/v1/checkouts", request_body) == (404, "not_found")
