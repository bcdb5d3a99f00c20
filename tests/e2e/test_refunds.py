"""Refunds by an admin at both providers, with faults on the way; a full refund ends access."""

from typing import Any
from uuid import uuid4

import pytest
import requests

from .harness import ScenarioHarness, Visitor, eventually, problem
from .test_purchase import assert_purchased_once


class Purchase:
    """A purchased course, and the admin who may refund it."""

    def __init__(self, harness: ScenarioHarness, provider: str, currency: str) -> None:
        self.harness = harness
        self.admin = Visitor(harness, harness.platform.person("admin@demo.test"))
        self.learner = harness.learner()
        self.learner.profile()
        self.course = harness.paid_course(currency)
        self.provider_url = harness.platform.stripe if provider == "stripe" else harness.platform.yookassa
        checkout = self.learner.check_out(self.course["id"], provider=provider)
        self.order_id, self.amount_minor = checkout["order_id"], checkout["amount_minor"]
        harness.pay(checkout["redirect_url"])
        assert_purchased_once(self.learner, self.course["id"], checkout)

    def refund(self, amount_minor: int | None = None, *, key: str | None = None, by: Visitor | None = None) -> Any:
        body: dict[str, Any] = {"reason": "changed their mind"}
        if amount_minor:
            body["amount_minor"] = amount_minor
        return (by or self.admin).post(f"/v1/orders/{self.order_id}/refunds", body, key=key or uuid4().hex)

    def order(self) -> dict[str, Any]:
        return dict(self.learner.get(f"/v1/orders/{self.order_id}").json())

    def refunded_at_provider(self) -> int:
        [charge] = self.harness.charges(self.order_id)
        return int(charge["refunded_minor"])

    def completion_status(self) -> int:
        """Return the status of the learner's attempt to complete the first lesson."""
        lesson_id = self.learner.lessons(self.course["id"])[0]
        return self.learner.put(f"/v1/courses/{self.course['id']}/lessons/{lesson_id}/completion").status_code

    def assert_access_ended(self) -> None:
        eventually(lambda: self.learner.progress(self.course["id"]) is None)
        access = self.learner.get(f"/v1/me/courses/{self.course['id']}/access").json()
        assert (access["access"], access["grants"][0]["reason"]) == (False, "refunded")
        assert self.completion_status() == 403


@pytest.fixture
def purchase(harness: ScenarioHarness) -> Purchase:
    return Purchase(harness, "stripe", "USD")


@pytest.mark.parametrize(("provider", "currency"), [("stripe", "USD"), ("yookassa", "RUB")])
def test_access_ends_only_with_full_refund(harness: ScenarioHarness, provider: str, currency: str) -> None:
    purchase = Purchase(harness, provider, currency)
    part = purchase.refund(100)
    assert (part.status_code, part.json()["status"]) == (201, "succeeded")
    assert (purchase.order()["status"], purchase.completion_status()) == ("partially_refunded", 200)
    assert purchase.refund().json()["amount_minor"] == purchase.amount_minor - 100
    assert purchase.order()["status"] == "refunded"
    purchase.assert_access_ended()
    assert purchase.refunded_at_provider() == purchase.amount_minor
    eventually(lambda: sum("refund" in subject for subject in purchase.learner.subjects()) == 2)
    steps = purchase.learner.get(f"/v1/orders/{purchase.order_id}/timeline").json()["items"]
    assert [step["step"] for step in steps if "refund" in step["step"]] == ["refund_started", "refund_succeeded"] * 2
    entries = purchase.admin.get(f"/v1/ledger/entries?order_id={purchase.order_id}").json()["items"]
    assert (len(entries), sum(entry["amount_minor"] for entry in entries)) == (6, 0)


def test_invalid_refund_requests_are_rejected(purchase: Purchase) -> None:
    path = f"/v1/orders/{purchase.order_id}/refunds"
    body = {"amount_minor": 100, "reason": "changed their mind"}
    assert problem(purchase.refund(purchase.amount_minor + 1)) == (422, "refund_too_large")
    assert problem(purchase.refund(by=purchase.learner)) == (403, "insufficient_permission")
    assert problem(purchase.admin.post(path, body)) == (400, "idempotency_key_missing")
    for wrong in ({"amount_minor": 100}, {**body, "amount_minor": 0}, {**body, "amount_minor": 1.5}, {"reason": " "}):
        assert problem(purchase.admin.post(path, wrong, key=uuid4().hex)) == (422, "validation_failed")
    unknown = purchase.admin.post(f"/v1/orders/{uuid4()}/refunds", body, key=uuid4().hex)
    assert problem(unknown) == (404, "not_found")
    unpaid = purchase.learner.check_out(purchase.harness.courses(currency="USD", price_min=1)[-1]["id"])
    refused = purchase.admin.post(f"/v1/orders/{unpaid['order_id']}/refunds", body, key=uuid4().hex)
    assert problem(refused) == (409, "order_not_paid")
    assert (purchase.refunded_at_provider(), purchase.order()["status"]) == (0, "paid")
    assert problem(purchase.learner.get("/v1/ledger/accounts")) == (403, "insufficient_permission")


def test_repeated_refund_request_refunds_once(purchase: Purchase) -> None:
    first, second = (purchase.refund(100, key="once") for _ in range(2))
    assert second.json() == first.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert problem(purchase.refund(200, key="once")) == (422, "idempotency_key_reused")
    assert purchase.refunded_at_provider() == 100
    listed = purchase.learner.get(f"/v1/orders/{purchase.order_id}/refunds").json()["items"]
    assert [refund["id"] for refund in listed] == [first.json()["id"]]


def test_lost_provider_response_refunds_once(purchase: Purchase) -> None:
    purchase.harness.faults(drop_response_after_commit=3, duplicate_webhooks=3)
    assert purchase.refund().status_code == 201
    purchase.harness.faults(drop_response_after_commit=0, duplicate_webhooks=0)
    eventually(lambda: purchase.order()["status"] == "refunded")  # by its webhooks; the job would do it as well
    purchase.assert_access_ended()
    assert purchase.refunded_at_provider() == purchase.amount_minor


# Refunds that the buyer's bank returns.


def reverse_refund(purchase: Purchase) -> None:
    """Return the last refund by the bank."""
    state = requests.get(f"{purchase.provider_url}/__state", timeout=5).json()
    [payment] = purchase.harness.charges(purchase.order_id)
    refund = [each for each in state["refunds"] if each["payment_id"] == payment["id"]][-1]
    answer = requests.post(f"{purchase.provider_url}/__refund/{refund['id']}", json={"outcome": "fail"}, timeout=5)
    answer.raise_for_status()


@pytest.mark.parametrize("fault", ["none", "twice", "out of order"])
def test_refund_reversal_restores_access(purchase: Purchase, fault: str) -> None:
    assert purchase.refund().status_code == 201
    purchase.assert_access_ended()
    faults: dict[str, Any] = {"twice": {"duplicate_webhooks": 4}, "out of order": {"reorder_webhooks": True}}
    purchase.harness.faults(**faults.get(fault, {}))
    try:
        reverse_refund(purchase)
        eventually(lambda: purchase.order()["status"] == "paid")
        eventually(lambda: purchase.learner.progress(purchase.course["id"]))
    finally:
        purchase.harness.faults(duplicate_webhooks=0, reorder_webhooks=False)
    access = purchase.learner.get(f"/v1/me/courses/{purchase.course['id']}/access").json()
    assert (access["access"], [grant["status"] for grant in access["grants"]]) == (True, ["active"])
    assert (purchase.completion_status(), purchase.order()["refunded_minor"]) == (200, 0)
    eventually(lambda: sum("was returned" in subject for subject in purchase.learner.subjects()) == 1)
    entries = purchase.admin.get(f"/v1/ledger/entries?order_id={purchase.order_id}").json()["items"]
    kinds = [entry["kind"] for entry in reversed(entries)]
    assert kinds == ["capture"] * 2 + ["refund"] * 2 + ["refund_reversed"] * 2
    assert purchase.refund().json()["status"] == "succeeded"  # the second refund is sent another way
    purchase.assert_access_ended()


def test_refund_can_keep_access_and_hide_reason(purchase: Purchase) -> None:
    path = f"/v1/orders/{purchase.order_id}/refunds"
    body = {"reason": "goodwill", "keeps_access": True}
    assert problem(purchase.admin.post(path, {**body, "keeps_access": "yes"}, key=uuid4().hex))[0] == 422
    refund = purchase.admin.post(path, body, key=uuid4().hex).json()
    assert (refund["reason"], refund["keeps_access"], purchase.order()["status"]) == (body["reason"], True, "refunded")
    eventually(lambda: any("refund" in subject for subject in purchase.learner.subjects()))
    assert purchase.completion_status() == 200
    [buyer_view] = purchase.learner.get(path).json()["items"]
    [staff_view] = purchase.admin.get(path).json()["items"]
    assert (buyer_view["reason"], staff_view["reason"]) == ("refunded by the merchant", body["reason"])
