"""A provider without webhooks: the hourly job finds the payment and grants access once."""

import pytest
import requests

from .harness import ScenarioHarness
from .test_purchase import assert_purchased_once

MANY = 1000


def run(harness: ScenarioHarness, job: str) -> None:
    answer = requests.post(f"{harness.platform.clock}/__jobs/{job}/run", timeout=40)
    assert answer.json()["finished"]


@pytest.mark.parametrize(("provider", "currency"), [("stripe", "USD"), ("yookassa", "RUB")])
def test_payment_without_webhook_grants_access_once(harness: ScenarioHarness, provider: str, currency: str) -> None:
    at = harness.platform.stripe if provider == "stripe" else harness.platform.yookassa
    learner = harness.learner()
    learner.profile()
    course = harness.paid_course(currency)
    harness.faults(at=at, drop_webhooks=MANY)
    try:
        checkout = learner.check_out(course["id"], provider=provider)
        harness.pay(checkout["redirect_url"])
        assert learner.get(f"/v1/orders/{checkout['order_id']}").json()["status"] == "pending"
        run(harness, "payments.fetch_undelivered_events")
        assert_purchased_once(learner, course["id"], checkout)
        run(harness, "payments.fetch_undelivered_events")
        run(harness, "payments.reconcile_recent_days")
    finally:
        harness.faults(at=at, drop_webhooks=0)
    assert_purchased_once(learner, course["id"], checkout)
    assert len(harness.charges(checkout["order_id"])) == 1
