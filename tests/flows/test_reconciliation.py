"""A provider whose webhooks never come: what was paid is found by the hour, and gives access once."""

import pytest
import requests

from .shop import Shop, Visitor
from .test_bad_input import problem
from .test_purchase import assert_bought_once

pytestmark = pytest.mark.flow

MANY = 1000


def run(shop: Shop, job: str) -> None:
    answer = requests.post(f"{shop.platform.clock}/__jobs/{job}/run", timeout=40)
    assert answer.json()["finished"]


@pytest.mark.parametrize(("provider", "currency"), [("stripe", "USD"), ("yookassa", "RUB")])
def test_a_payment_of_which_no_webhook_tells_gives_access_once(shop: Shop, provider: str, currency: str) -> None:
    at = shop.platform.stripe if provider == "stripe" else shop.platform.yookassa
    learner = shop.learner()
    learner.profile()
    course = shop.paid_course(currency)
    shop.faults(at=at, drop_webhooks=MANY)
    try:
        checkout = learner.check_out(course["id"], provider=provider)
        shop.pay(checkout["redirect_url"])
        assert learner.get(f"/v1/orders/{checkout['order_id']}").json()["status"] == "pending"
        run(shop, "payments.pull_missed_news")
        assert_bought_once(learner, course["id"], checkout)
        run(shop, "payments.pull_missed_news")
        run(shop, "payments.compare_days")
    finally:
        shop.faults(at=at, drop_webhooks=0)
    assert_bought_once(learner, course["id"], checkout)
    assert len(shop.charges(checkout["order_id"])) == 1


def test_reports_are_for_those_who_keep_the_books(shop: Shop) -> None:
    admin = Visitor(shop, shop.platform.person("admin@demo.test"))
    assert admin.get("/v1/reconciliation/reports?limit=1").status_code == 200
    assert problem(shop.learner().get("/v1/reconciliation/reports")) == (403, "permission_missing")
