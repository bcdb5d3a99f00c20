"""A course in roubles: YooKassa's page, its notices from a known address, and one order between two providers."""

from typing import Any
from uuid import uuid4

import pytest

from .shop import Shop, Visitor, eventually
from .test_purchase import assert_bought_once

pytestmark = pytest.mark.flow

YOOKASSA = "127.0.0.2"


@pytest.fixture
def course(shop: Shop) -> dict[str, Any]:
    return shop.paid_course("RUB")


@pytest.fixture
def learner(shop: Shop) -> Visitor:
    learner = shop.learner()
    learner.profile()
    return learner


def forge(shop: Shop, page_url: str, **more: str) -> int:
    """Send a notice of what never happened; returns what it was answered with."""
    payment = {"id": page_url.rpartition("/")[2], "status": "succeeded", "paid": True}
    told = {"event": "payment.succeeded", "object": payment, **more}
    return int(shop.faults(at=shop.platform.yookassa, forge_webhook=told)["forged_webhook_status"])


def steps(learner: Visitor, order_id: str) -> list[str]:
    return [step["step"] for step in learner.get(f"/v1/orders/{order_id}/timeline").json()["items"]]


def test_paying_in_roubles_gives_access_and_every_step_is_told(shop: Shop, learner: Visitor, course: Any) -> None:
    checkout = learner.check_out(course["id"], provider="yookassa")
    assert (checkout["amount_minor"], checkout["currency"]) == (course["price"]["amount_minor"], "RUB")
    shop.pay(checkout["redirect_url"])
    assert_bought_once(learner, course["id"], checkout)
    assert [row["status"] for row in shop.charges(checkout["order_id"])] == ["succeeded"]
    eventually(lambda: "access_given" in steps(learner, checkout["order_id"]))


def test_another_currency_is_refused(shop: Shop, learner: Visitor) -> None:
    body = {"course_id": shop.paid_course("USD")["id"], "provider": "yookassa"}
    answer = learner.post("/v1/checkouts", body, key=uuid4().hex)
    assert (answer.status_code, answer.json()["code"]) == (422, "currency_not_supported")


def test_forged_notices_pay_for_nothing_and_stand_in_nobodys_way(shop: Shop, learner: Visitor, course: Any) -> None:
    checkout = learner.check_out(course["id"], provider="yookassa")
    assert forge(shop, checkout["redirect_url"]) == 403
    assert forge(shop, checkout["redirect_url"], source=YOOKASSA) == 200
    assert forge(shop, f"/{uuid4()}", source=YOOKASSA) == 200
    assert learner.get(f"/v1/orders/{checkout['order_id']}").json()["status"] == "pending"
    shop.pay(checkout["redirect_url"])
    assert_bought_once(learner, course["id"], checkout)


def test_the_return_page_needs_no_notice(shop: Shop, learner: Visitor, course: Any) -> None:
    shop.faults(at=shop.platform.yookassa, drop_webhooks=1)
    checkout = learner.check_out(course["id"], provider="yookassa")
    shop.pay(checkout["redirect_url"])
    order = learner.post(f"/v1/checkouts/{checkout['id']}/sync")
    assert (order.status_code, order.json()["status"]) == (200, "paid")
    shop.faults(at=shop.platform.yookassa, drop_webhooks=0)


def test_of_two_pages_that_are_both_paid_one_is_charged(shop: Shop, learner: Visitor, course: Any) -> None:
    first = learner.check_out(course["id"], provider="yookassa")
    second = learner.check_out(course["id"], provider="stripe")
    assert second["order_id"] == first["order_id"]
    shop.pay(first["redirect_url"])
    eventually(lambda: not shop.charges(first["order_id"]))  # held, and let go
    shop.pay(second["redirect_url"])
    assert_bought_once(learner, course["id"], second)


def test_a_canceled_order_takes_no_money(shop: Shop, learner: Visitor, course: Any) -> None:
    checkout = learner.check_out(course["id"], provider="yookassa")
    path = f"/v1/orders/{checkout['order_id']}"
    canceled = learner.post(f"{path}/cancel")
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    shop.pay(checkout["redirect_url"])
    eventually(lambda: not shop.charges(checkout["order_id"]))
    assert learner.get(path).json()["status"] == "canceled"
    assert learner.progress(course["id"]) is None
    assert shop.learner().post(f"{path}/cancel").status_code == 404
