"""A course in roubles: YooKassa's session, its webhooks from a known address, and one order between two providers."""

from typing import Any
from uuid import uuid4

import pytest

from .harness import ScenarioHarness, Visitor, eventually
from .test_purchase import assert_purchased_once

YOOKASSA = "127.0.0.2"


@pytest.fixture
def course(harness: ScenarioHarness) -> dict[str, Any]:
    return harness.paid_course("RUB")


@pytest.fixture
def learner(harness: ScenarioHarness) -> Visitor:
    learner = harness.learner()
    learner.profile()
    return learner


def send_forged_webhook(harness: ScenarioHarness, page_url: str, **more: str) -> int:
    """Send a webhook about a payment that did not happen; returns the status of the response."""
    payment = {"id": page_url.rpartition("/")[2], "status": "succeeded", "paid": True}
    webhook = {"event": "payment.succeeded", "object": payment, **more}
    return int(harness.faults(at=harness.platform.yookassa, forge_webhook=webhook)["forged_webhook_status"])


def steps(learner: Visitor, order_id: str) -> list[str]:
    return [step["step"] for step in learner.get(f"/v1/orders/{order_id}/timeline").json()["items"]]


def test_yookassa_payment_grants_access_and_fills_timeline(
    harness: ScenarioHarness, learner: Visitor, course: Any
) -> None:
    checkout = learner.check_out(course["id"], provider="yookassa")
    assert (checkout["amount_minor"], checkout["currency"]) == (course["price"]["amount_minor"], "RUB")
    harness.pay(checkout["redirect_url"])
    assert_purchased_once(learner, course["id"], checkout)
    assert [row["status"] for row in harness.charges(checkout["order_id"])] == ["succeeded"]
    eventually(lambda: "access_granted" in steps(learner, checkout["order_id"]))


def test_forged_webhooks_are_ignored(harness: ScenarioHarness, learner: Visitor, course: Any) -> None:
    checkout = learner.check_out(course["id"], provider="yookassa")
    assert send_forged_webhook(harness, checkout["redirect_url"]) == 403
    assert send_forged_webhook(harness, checkout["redirect_url"], source=YOOKASSA) == 200
    assert send_forged_webhook(harness, f"/{uuid4()}", source=YOOKASSA) == 200
    assert learner.get(f"/v1/orders/{checkout['order_id']}").json()["status"] == "pending"
    harness.pay(checkout["redirect_url"])
    assert_purchased_once(learner, course["id"], checkout)


def test_sync_on_return_needs_no_webhook(harness: ScenarioHarness, learner: Visitor, course: Any) -> None:
    harness.faults(at=harness.platform.yookassa, drop_webhooks=1)
    checkout = learner.check_out(course["id"], provider="yookassa")
    harness.pay(checkout["redirect_url"])
    order = learner.post(f"/v1/checkouts/{checkout['id']}/sync")
    assert (order.status_code, order.json()["status"]) == (200, "paid")
    harness.faults(at=harness.platform.yookassa, drop_webhooks=0)


def test_two_paid_sessions_capture_once(harness: ScenarioHarness, learner: Visitor, course: Any) -> None:
    first = learner.check_out(course["id"], provider="yookassa")
    second = learner.check_out(course["id"], provider="stripe")
    assert second["order_id"] == first["order_id"]
    harness.pay(first["redirect_url"])
    eventually(lambda: not harness.charges(first["order_id"]))  # authorized, then voided
    harness.pay(second["redirect_url"])
    assert_purchased_once(learner, course["id"], second)


def test_payment_of_canceled_order_is_voided(harness: ScenarioHarness, learner: Visitor, course: Any) -> None:
    checkout = learner.check_out(course["id"], provider="yookassa")
    path = f"/v1/orders/{checkout['order_id']}"
    canceled = learner.post(f"{path}/cancel")
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    harness.pay(checkout["redirect_url"])
    eventually(lambda: not harness.charges(checkout["order_id"]))
    assert learner.get(path).json()["status"] == "canceled"
    assert learner.progress(course["id"]) is None
    assert harness.learner().post(f"{path}/cancel").status_code == 404
