"""Story 2: a checkout, the provider's page, its webhook; access, progress and a receipt follow, once."""

import tomllib
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from models.courses.spelling import slug_of
from ops.local.seed import TEXTS, id_of

from .shop import Shop, Visitor, eventually

pytestmark = pytest.mark.flow

AFTER_A_PURCHASE = ["ENROLLMENT_CREATED", "PAYMENT_SUCCEEDED", "USER_CREATED"]


def assert_bought_once(learner: Visitor, course_id: str, checkout: dict[str, str]) -> None:
    eventually(lambda: learner.progress(course_id))
    learner.awaits(AFTER_A_PURCHASE, mails=3)
    order = learner.get(f"/v1/orders/{checkout['order_id']}").json()
    assert order["status"] == "paid"
    assert len(learner.shop.charges(checkout["order_id"])) == 1
    enrollments = learner.get("/v1/me/enrollments").json()["items"]
    assert [enrollment["course_id"] for enrollment in enrollments] == [course_id]


def test_the_catalogue_has_24_courses(shop: Shop) -> None:
    seeded = {str(id_of(slug_of(text["title"]))) for text in tomllib.loads(TEXTS.read_text())["courses"]}
    assert len(seeded & {course["id"] for course in shop.courses()}) == 24  # other stories may have published more


def test_paying_on_the_hosted_page_gives_access(shop: Shop) -> None:
    learner, course = shop.learner(), shop.paid_course()
    learner.profile()
    checkout = learner.check_out(course["id"])
    assert (checkout["amount_minor"], checkout["currency"]) == (course["price"]["amount_minor"], "USD")
    assert learner.progress(course["id"]) is None
    shop.pay(checkout["redirect_url"])
    assert_bought_once(learner, course["id"], checkout)


def test_a_repeated_checkout_is_answered_as_the_first(shop: Shop) -> None:
    learner, course, key = shop.learner(), shop.paid_course(), uuid4().hex
    body = {"course_id": course["id"], "provider": "stripe"}
    first, second = (learner.post("/v1/checkouts", body, key=key) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    other = learner.post("/v1/checkouts", {**body, "course_id": str(uuid4())}, key=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_eight_clicks_at_once_open_one_order(shop: Shop) -> None:
    learner, course = shop.learner(), shop.paid_course()
    learner.profile()
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: learner.check_out(course["id"]), range(8)))
    assert len({checkout["order_id"] for checkout in opened}) == 1
    shop.pay(opened[0]["redirect_url"])
    assert_bought_once(learner, course["id"], opened[0])


def test_webhooks_told_thrice_and_out_of_order_give_access_once(shop: Shop) -> None:
    learner, course = shop.learner(), shop.paid_course()
    learner.profile()
    checkout = learner.check_out(course["id"])
    shop.faults(duplicate_webhooks=3, reorder_webhooks=True)
    shop.pay(checkout["redirect_url"])
    assert_bought_once(learner, course["id"], checkout)
    shop.faults(duplicate_webhooks=0, reorder_webhooks=False)


def test_a_lost_answer_of_the_provider_charges_nobody_twice(shop: Shop) -> None:
    learner, course = shop.learner(), shop.paid_course()
    learner.profile()
    shop.faults(drop_response_after_commit=1)
    checkout = learner.check_out(course["id"])
    shop.pay(checkout["redirect_url"])
    assert_bought_once(learner, course["id"], checkout)


def test_a_declined_card_leaves_the_order_open_and_says_so(shop: Shop) -> None:
    learner, course = shop.learner(), shop.paid_course()
    learner.profile()
    checkout = learner.check_out(course["id"])
    shop.pay(checkout["redirect_url"], "decline")
    learner.awaits(["PAYMENT_FAILED", "USER_CREATED"], mails=2)
    assert learner.progress(course["id"]) is None
    shop.pay(checkout["redirect_url"])
    eventually(lambda: learner.progress(course["id"]))


@pytest.mark.parametrize(
    "victims",
    [["worker-payments"], ["worker-courses"], ["worker-progress"], ["bridge"], ["kafka"], ["queue"], ["postgres"]],
    ids="+".join,
)
def test_a_kill_in_the_middle_of_a_purchase_loses_and_doubles_nothing(shop: Shop, victims: list[str]) -> None:
    learner, course = shop.learner(), shop.paid_course()
    learner.profile()
    checkout = learner.check_out(course["id"])
    shop.pay(checkout["redirect_url"])
    shop.kill(*victims)
    assert_bought_once(learner, course["id"], checkout)


def test_a_worker_killed_during_the_checkout_opens_one_page(shop: Shop) -> None:
    learner, course = shop.learner(), shop.paid_course()
    learner.profile()
    shop.faults(delay_ms=700)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(learner.check_out, course["id"])
        eventually(lambda: not asked.done())
        shop.kill("worker-payments")
        shop.faults(delay_ms=0)
        checkout = asked.result()
    shop.pay(checkout["redirect_url"])
    assert_bought_once(learner, course["id"], checkout)
