"""Scenario: a checkout, its session and its webhook; access, progress and one receipt follow."""

from concurrent.futures import ThreadPoolExecutor

from .harness import ScenarioHarness, Visitor, eventually

PURCHASE_NOTIFICATIONS = ["ENROLLMENT_CREATED", "PAYMENT_SUCCEEDED", "USER_CREATED"]


def assert_purchased_once(learner: Visitor, course_id: str, checkout: dict[str, str]) -> None:
    eventually(lambda: learner.progress(course_id))
    learner.wait_for_notifications(PURCHASE_NOTIFICATIONS, mails=3)
    order = learner.get(f"/v1/orders/{checkout['order_id']}").json()
    assert order["status"] == "paid"
    assert len(learner.harness.charges(checkout["order_id"])) == 1
    enrollments = learner.get("/v1/me/enrollments").json()["items"]
    assert [enrollment["course_id"] for enrollment in enrollments] == [course_id]


def test_paid_checkout_session_grants_access(harness: ScenarioHarness) -> None:
    learner, course = harness.learner(), harness.paid_course()
    learner.profile()
    checkout = learner.check_out(course["id"])
    assert (checkout["amount_minor"], checkout["currency"]) == (course["price"]["amount_minor"], "USD")
    assert learner.progress(course["id"]) is None
    harness.pay(checkout["redirect_url"])
    assert_purchased_once(learner, course["id"], checkout)


def test_concurrent_checkouts_open_one_order(harness: ScenarioHarness) -> None:
    learner, course = harness.learner(), harness.paid_course()
    learner.profile()
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: learner.check_out(course["id"]), range(8)))
    assert len({checkout["order_id"] for checkout in opened}) == 1
    harness.pay(opened[0]["redirect_url"])
    assert_purchased_once(learner, course["id"], opened[0])


def test_repeated_and_reordered_webhooks_grant_access_once(harness: ScenarioHarness) -> None:
    learner, course = harness.learner(), harness.paid_course()
    learner.profile()
    checkout = learner.check_out(course["id"])
    harness.faults(duplicate_webhooks=3, reorder_webhooks=True)
    harness.pay(checkout["redirect_url"])
    assert_purchased_once(learner, course["id"], checkout)
    harness.faults(duplicate_webhooks=0, reorder_webhooks=False)


def test_lost_provider_response_does_not_charge_twice(harness: ScenarioHarness) -> None:
    learner, course = harness.learner(), harness.paid_course()
    learner.profile()
    harness.faults(drop_response_after_commit=1)
    checkout = learner.check_out(course["id"])
    harness.pay(checkout["redirect_url"])
    assert_purchased_once(learner, course["id"], checkout)


def test_declined_card_keeps_order_payable_and_notifies_buyer(harness: ScenarioHarness) -> None:
    learner, course = harness.learner(), harness.paid_course()
    learner.profile()
    checkout = learner.check_out(course["id"])
    harness.pay(checkout["redirect_url"], "decline")
    learner.wait_for_notifications(["PAYMENT_FAILED", "USER_CREATED"], mails=2)
    assert learner.progress(course["id"]) is None
    harness.pay(checkout["redirect_url"])
    eventually(lambda: learner.progress(course["id"]))
