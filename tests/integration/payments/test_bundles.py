"""Orders of several courses."""

from uuid import uuid4

import pytest

from core.db import utc_now
from models.errors import AlreadyPurchased, NotFound
from models.events import CourseArchived
from tests.integration.payments.harness import make_bundle, make_offer
from workers.payments.bundles import change_bundle, create_bundle, list_bundles
from workers.payments.offers import withdraw_offer


@pytest.fixture
def course_id(session):
    return make_offer(session)


def test_bundle_purchase_publishes_one_event_per_course(harness, session):
    # lifterlms#2568: the webhook of a bundle named one course only.
    course_ids = [make_offer(session, title=f"Course {number}") for number in range(3)]
    checkout = harness.buy(bundle_id=make_bundle(session, *course_ids))
    assert harness.event_types(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED"] + ["COURSE_PURCHASED"] * 3
    order = harness.order_response(checkout)
    assert (order["amount_minor"], order["course_id"]) == (6000, None)
    assert [course["course_id"] for course in order["courses"]] == [str(course_id) for course_id in course_ids]


def test_purchased_bundle_and_its_courses_are_not_sold_again(harness, session, course_id):
    bundle_id = make_bundle(session, course_id)
    assert harness.checkout(bundle_id=bundle_id)["id"] == harness.checkout(bundle_id=bundle_id)["id"]
    harness.buy(bundle_id=bundle_id)
    for item in ({"bundle_id": bundle_id}, {"course_id": course_id}):
        with pytest.raises(AlreadyPurchased):
            harness.checkout(**item)


def test_bundle_with_withdrawn_course_is_not_on_sale(harness, session, course_id):
    bundle_id = make_bundle(session, course_id)
    withdraw_offer(session, event=CourseArchived(course_id=course_id, archived_at=utc_now()))
    with pytest.raises(NotFound):
        harness.checkout(bundle_id=bundle_id)


def test_bundle_is_created_changed_and_withdrawn(harness, session, course_id):
    fields = {"title": "Two", "amount_minor": 7000, "currency": "USD", "course_ids": [str(course_id)]}
    with pytest.raises(NotFound):
        create_bundle(session, fields={**fields, "course_ids": [str(uuid4())]})
    bundle = create_bundle(session, fields=fields)
    assert bundle["price"] == {"amount_minor": 7000, "currency": "USD"}
    assert bundle["id"] in {each["id"] for each in list_bundles(session, limit=5, after=None)["items"]}
    for same in ({}, fields):
        assert change_bundle(session, bundle_id=bundle["id"], expected_version=1, fields=same)["version"] == 1
    change_bundle(session, bundle_id=bundle["id"], expected_version=1, fields={"amount_minor": 5000})
    assert harness.checkout(bundle_id=bundle["id"])["amount_minor"] == 5000
    change_bundle(session, bundle_id=bundle["id"], expected_version=2, fields={"on_sale": False})
    with pytest.raises(NotFound):
        harness.checkout(bundle_id=bundle["id"])
    assert bundle["id"] not in {each["id"] for each in list_bundles(session, limit=5, after=None)["items"]}
