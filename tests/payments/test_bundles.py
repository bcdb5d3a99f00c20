"""Several courses in one order."""

from uuid import uuid4

import pytest

from models.base import now
from models.errors import AlreadyPurchased, NotFound
from models.events import CourseArchived
from tests.payments.shop import make_bundle, make_offer
from workers.payments.bundles import change_bundle, compose_bundle, list_bundles
from workers.payments.offers import withdraw_offer


@pytest.fixture
def course_id(session):
    return make_offer(session)


def test_a_bundle_opens_each_of_its_courses_once(shop, session):
    # lifterlms#2568: the hook of a bundle named one course only.
    course_ids = [make_offer(session, title=f"Course {number}") for number in range(3)]
    checkout = shop.bought(bundle_id=make_bundle(session, *course_ids))
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED"] + ["COURSE_PURCHASED"] * 3
    order = shop.order(checkout).view()
    assert (order["amount_minor"], order["course_id"]) == (6000, None)
    assert [course["course_id"] for course in order["courses"]] == [str(course_id) for course_id in course_ids]


def test_a_bundle_is_bought_once_and_its_courses_not_again(shop, session, course_id):
    bundle_id = make_bundle(session, course_id)
    assert shop.checkout(bundle_id=bundle_id)["id"] == shop.checkout(bundle_id=bundle_id)["id"]
    shop.bought(bundle_id=bundle_id)
    for wish in ({"bundle_id": bundle_id}, {"course_id": course_id}):
        with pytest.raises(AlreadyPurchased):
            shop.checkout(**wish)


def test_a_bundle_with_a_course_that_is_not_on_sale_is_not_on_sale(shop, session, course_id):
    bundle_id = make_bundle(session, course_id)
    withdraw_offer(session, event=CourseArchived(course_id=course_id, archived_at=now()))
    with pytest.raises(NotFound):
        shop.checkout(bundle_id=bundle_id)


def test_a_bundle_is_composed_changed_and_taken_off_sale(shop, session, course_id):
    fields = {"title": "Two", "amount_minor": 7000, "currency": "USD", "course_ids": [str(course_id)]}
    with pytest.raises(NotFound):
        compose_bundle(session, fields={**fields, "course_ids": [str(uuid4())]})
    bundle = compose_bundle(session, fields=fields)
    assert bundle["price"] == {"amount_minor": 7000, "currency": "USD"}
    assert bundle["id"] in {each["id"] for each in list_bundles(session, limit=5, after=None)["items"]}
    change_bundle(session, bundle_id=bundle["id"], expected_version=1, fields={"amount_minor": 5000})
    assert shop.checkout(bundle_id=bundle["id"])["amount_minor"] == 5000
    change_bundle(session, bundle_id=bundle["id"], expected_version=2, fields={"on_sale": False})
    with pytest.raises(NotFound):
        shop.checkout(bundle_id=bundle["id"])
    assert bundle["id"] not in {each["id"] for each in list_bundles(session, limit=5, after=None)["items"]}
