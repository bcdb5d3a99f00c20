"""Coupons and bundles: sold, redeemed and refused."""

from typing import Any
from uuid import uuid4

import pytest
import requests

from .harness import ScenarioHarness, Visitor, eventually, problem


@pytest.fixture
def admin(harness: ScenarioHarness) -> Visitor:
    return Visitor(harness, harness.platform.person("admin@demo.test"))


@pytest.fixture
def learner(harness: ScenarioHarness) -> Visitor:
    learner = harness.learner()
    learner.profile()
    return learner


def issue(admin: Visitor, **terms: Any) -> dict[str, Any]:
    coupon = {"code": uuid4().hex[:12], "kind": "percent", "value": 100, **terms}
    answer = admin.post("/v1/coupons", coupon)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def check_out(learner: Visitor, **item: Any) -> Any:
    """Start a checkout, repeated with the same key while its outcome is unknown."""
    key, body = uuid4().hex, {"provider": "stripe", **item}
    return eventually(lambda: final_answer(learner.post("/v1/checkouts", body, key=key)))[0]


def final_answer(answer: requests.Response) -> list[requests.Response]:
    return [] if answer.status_code in {503, 504} else [answer]


def test_coupon_code_is_case_insensitive(harness: ScenarioHarness, learner: Visitor, admin: Visitor) -> None:
    course, code = harness.paid_course(), f"Off-{uuid4().hex[:8]}".upper()
    issue(admin, code=code, value=10)
    answer = check_out(learner, course_id=course["id"], coupon=code.lower())
    assert answer.status_code == 201, answer.text
    checkout = answer.json()
    price = course["price"]["amount_minor"]
    assert checkout["amount_minor"] == price - price // 10
    harness.pay(checkout["redirect_url"])
    eventually(lambda: learner.progress(course["id"]))
    [charge] = harness.charges(checkout["order_id"])
    assert charge["amount_minor"] == checkout["amount_minor"]
    order = learner.get(f"/v1/orders/{checkout['order_id']}").json()
    assert (order["coupon"], order["discount_minor"]) == (code, price // 10)
    path = f"/v1/orders/{checkout['order_id']}/invoice"
    assert learner.get(path).json()["total_minor"] == checkout["amount_minor"]
    page = learner.get(path, Accept="text/html")
    assert page.headers["Content-Type"].startswith("text/html")
    assert code in page.text
    assert problem(harness.learner().get(path)) == (404, "not_found")


def test_full_discount_grants_access_immediately(harness: ScenarioHarness, learner: Visitor, admin: Visitor) -> None:
    coupon = issue(admin, max_redemptions=1)
    course_id = harness.paid_course()["id"]
    checkout = check_out(learner, course_id=course_id, coupon=coupon["code"]).json()
    assert (checkout["status"], checkout["redirect_url"]) == ("succeeded", None)
    eventually(lambda: learner.progress(course_id))
    assert problem(check_out(harness.learner(), course_id=course_id, coupon=coupon["code"])) == (
        422,
        "coupon_exhausted",
    )


def test_bundle_grants_all_courses_until_refunded(harness: ScenarioHarness, learner: Visitor, admin: Visitor) -> None:
    [bundle, *_] = [each for each in learner.get("/v1/bundles").json()["items"] if each["price"]["currency"] == "USD"]
    checkout = check_out(learner, bundle_id=bundle["id"]).json()
    assert checkout["amount_minor"] == bundle["price"]["amount_minor"]
    harness.pay(checkout["redirect_url"])
    for course_id in bundle["course_ids"]:
        eventually(lambda course_id=course_id: learner.progress(course_id))
    admin.post(f"/v1/orders/{checkout['order_id']}/refunds", {"reason": "not needed"}, key=uuid4().hex)
    for course_id in bundle["course_ids"]:
        eventually(lambda course_id=course_id: learner.progress(course_id) is None)


def test_invalid_checkout_requests_are_rejected(harness: ScenarioHarness, learner: Visitor, admin: Visitor) -> None:
    course_id = harness.paid_course()["id"]
    euros = issue(admin, kind="fixed", value=500, currency="EUR")["code"]
    for_other_course = issue(admin, course_ids=[str(uuid4())])["code"]
    over = issue(admin, ends_at="2020-01-01T00:00:00Z")["code"]
    refusals = {
        "UNKNOWN": "coupon_unknown",
        euros: "coupon_currency_mismatch",
        for_other_course: "coupon_not_applicable",
        over: "coupon_expired",
    }
    for code, refusal in refusals.items():
        assert problem(check_out(learner, course_id=course_id, coupon=code)) == (422, refusal)
    assert problem(check_out(learner, bundle_id=str(uuid4()))) == (404, "not_found")
    for fields in ({}, {"course_id": course_id, "bundle_id": str(uuid4())}, {"course_id": course_id, "coupon": ""}):
        assert problem(check_out(learner, **fields)) == (422, "validation_failed")
    assert problem(learner.get("/v1/coupons")) == (403, "insufficient_permission")


def test_coupon_is_created_listed_and_limited(admin: Visitor) -> None:
    coupon = issue(admin, code="Spring-" + uuid4().hex[:6], value=20, max_per_user=2)
    assert coupon["code"].isupper()
    assert coupon in admin.get("/v1/coupons").json()["items"]
    path = f"/v1/coupons/{coupon['id']}"
    etag = admin.get(path).headers["ETag"]
    changed = admin.person.send("PATCH", path, {"max_per_user": None, "ends_at": "2030-01-01T00:00:00Z"}, If_Match=etag)
    assert problem(admin.person.send("PATCH", path, {"max_per_user": 1}, If_Match=etag)) == (412, "precondition_failed")
    assert (changed.json()["max_per_user"], changed.json()["value"]) == (None, 20)
    assert problem(admin.post("/v1/coupons", {"code": coupon["code"], "kind": "percent", "value": 5})) == (
        409,
        "coupon_code_exists",
    )
    for wrong in ({"value": 101}, {"value": 0}, {"currency": "USD"}, {"kind": "fixed"}, {"code": "a b"}):
        body = {"code": uuid4().hex[:9], "kind": "percent", "value": 10, **wrong}
        assert problem(admin.post("/v1/coupons", body)) == (422, "validation_failed")
