from uuid import uuid4

import pytest

from models.base import now
from models.errors import NotFound
from models.events import CourseArchived, CoursePublished, CourseUpdated
from models.payments import Offer
from tests.payments.shop import make_offer
from tests.support.events import some
from workers.payments.offers import change_offer, keep_offer, withdraw_offer


def updated(course_id, **fields) -> CourseUpdated:
    wanted = {"title": "Sourdough", "price_minor": 4900, "currency": "USD", "on_sale": True} | fields
    return CourseUpdated(course_id=course_id, slug="sourdough", updated_at=now(), **wanted)


def test_a_published_course_is_on_sale_at_its_price(session):
    course_id = make_offer(session, price_minor=4900, currency="EUR")
    offer = Offer.of(session, course_id)
    assert (offer.amount_minor, offer.currency, offer.title) == (4900, "EUR", "Sourdough")


def test_a_later_version_brings_its_price(session):
    course_id = make_offer(session, price_minor=4900)
    make_offer(session, course_id=course_id, course_version=2, price_minor=5900)
    assert Offer.of(session, course_id).amount_minor == 5900


def test_an_offer_delivered_twice_or_late_changes_nothing(session):
    course_id = make_offer(session, course_version=2, price_minor=5900)
    make_offer(session, course_id=course_id, course_version=2, price_minor=5900)
    make_offer(session, course_id=course_id, course_version=1, price_minor=4900)
    assert Offer.of(session, course_id).amount_minor == 5900


def test_a_new_price_is_live_at_once(session):
    course_id = make_offer(session, price_minor=4900)
    for _ in range(2):
        change_offer(session, event=updated(course_id, price_minor=3900))
    assert Offer.of(session, course_id).amount_minor == 3900


def test_a_draft_that_changes_is_not_on_sale(session):
    course_id = uuid4()
    change_offer(session, event=updated(course_id, on_sale=False))
    with pytest.raises(NotFound):
        Offer.of(session, course_id)


def test_a_course_that_was_taken_off_sale_is_not_found(session):
    unpublished, archived = make_offer(session), make_offer(session)
    change_offer(session, event=updated(unpublished, on_sale=False))
    for _ in range(2):
        withdraw_offer(session, event=CourseArchived(course_id=archived, archived_at=now()))
    for course_id in (unpublished, archived):
        with pytest.raises(NotFound):
            Offer.of(session, course_id)


def test_a_course_published_anew_is_on_sale_again(session):
    course_id = make_offer(session)
    change_offer(session, event=updated(course_id, on_sale=False))
    make_offer(session, course_id=course_id, course_version=2)
    assert Offer.of(session, course_id).on_sale


def test_late_publication_does_not_turn_the_price_back(session):
    course_id = uuid4()
    published = some(CoursePublished, course_id=course_id, price_minor=1000, currency="USD")

    change_offer(session, event=updated(course_id, price_minor=9900), event_version=2)
    keep_offer(session, event=published, event_version=1)

    assert Offer.of(session, course_id).amount_minor == 9900


def test_late_update_does_not_put_an_archived_course_on_sale(session):
    course_id = make_offer(session)

    withdraw_offer(session, event=CourseArchived(course_id=course_id, archived_at=now()), event_version=3)
    change_offer(session, event=updated(course_id), event_version=2)

    with pytest.raises(NotFound):
        Offer.of(session, course_id)
