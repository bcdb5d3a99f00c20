"""A buyer's bank disputes a payment: access is suspended and follows the bank's decision."""

from typing import Any

import pytest
import requests

from .harness import ScenarioHarness, eventually, problem
from .test_refunds import Purchase


@pytest.fixture
def purchase(harness: ScenarioHarness) -> Purchase:
    return Purchase(harness, "stripe", "USD")


def post_dispute(purchase: Purchase, **message: Any) -> None:
    """Open or decide a dispute at the fake."""
    [payment] = purchase.harness.charges(purchase.order_id)
    answer = requests.post(f"{purchase.provider_url}/__dispute/{payment['id']}", json=message, timeout=5)
    answer.raise_for_status()


def grant(purchase: Purchase) -> tuple[bool, str, str | None]:
    access = purchase.learner.get(f"/v1/me/courses/{purchase.course['id']}/access").json()
    return access["access"], access["grants"][0]["status"], access["grants"][0]["reason"]


def disputes(purchase: Purchase, **query: str) -> list[dict[str, Any]]:
    found = "&".join(f"{name}={value}" for name, value in query.items())
    return list(purchase.admin.get(f"/v1/disputes?order_id={purchase.order_id}&{found}").json()["items"])


@pytest.mark.parametrize("fault", ["none", "twice", "out of order"])
def test_open_dispute_suspends_access_until_won(purchase: Purchase, fault: str) -> None:
    faults: dict[str, Any] = {"twice": {"duplicate_webhooks": 6}, "out of order": {"reorder_webhooks": True}}
    purchase.harness.faults(**faults.get(fault, {}))
    try:
        post_dispute(purchase)
        eventually(lambda: purchase.order()["status"] == "disputed")
        eventually(lambda: grant(purchase) == (False, "suspended", "disputed"))
        eventually(lambda: purchase.completion_status() == 403)
        assert purchase.order()["disputed_minor"] == purchase.amount_minor
        assert problem(purchase.refund()) == (422, "refund_too_large")
        [dispute] = disputes(purchase, status="open")
        assert (dispute["reason"], dispute["amount_minor"]) == ("fraudulent", purchase.amount_minor)
        post_dispute(purchase, outcome="won")
        eventually(lambda: purchase.order()["status"] == "paid")
    finally:
        purchase.harness.faults(duplicate_webhooks=0, reorder_webhooks=False)
    eventually(lambda: grant(purchase) == (True, "active", None))
    eventually(lambda: purchase.completion_status() == 200)
    eventually(lambda: sum("disput" in subject for subject in purchase.learner.subjects()) == 2)
    entries = purchase.admin.get(f"/v1/ledger/entries?order_id={purchase.order_id}").json()["items"]
    kinds = [entry["kind"] for entry in reversed(entries)]
    assert kinds == ["capture"] * 2 + ["dispute"] * 2 + ["dispute_won"] * 2


def test_lost_dispute_revokes_access(purchase: Purchase) -> None:
    post_dispute(purchase)
    post_dispute(purchase, outcome="lost")
    eventually(lambda: purchase.order()["status"] == "charged_back")
    eventually(lambda: grant(purchase) == (False, "revoked", "charged_back"))
    [dispute] = disputes(purchase)
    assert (dispute["status"], problem(purchase.refund())) == ("lost", (422, "refund_too_large"))
    steps = purchase.learner.get(f"/v1/orders/{purchase.order_id}/timeline").json()["items"]
    assert "dispute_lost" in [step["step"] for step in steps]
    again = purchase.learner.check_out(purchase.course["id"])  # the course may be bought again
    assert again["order_id"] != purchase.order_id
