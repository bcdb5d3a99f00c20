from uuid import uuid4

import pytest

from core.db import utc_now
from models.errors import NotFound
from models.events import CourseArchived, CoursePublished, CourseUpdated
from models.payments import Offer
from tests.integration.payments.harness import make_offer
from tests.support.events import build_event
from workers.payments.offers import update_offer, upsert_offer, withdraw_offer


def course_updated(course_id, **fields) -> CourseUpdated:
    defaults = {"title": "Sourdough", "price_minor": 4900, "currency": "USD", "on_sale": True} | fields
    return CourseUpdated(course_id=course_id, slug="sourdough", updated_at=utc_now(), **defaults)


def test_published_course_is_on_sale_at_its_price(session):
    course_id = make_offer(session, price_minor=4900, currency="EUR")
    offer = Offer.get(session, course_id)
    assert (offer.amount_minor, offer.currency, offer.title) == (4900, "EUR", "Sourdough")


def test_new_course_version_updates_price(session):
    course_id = make_offer(session, price_minor=4900)
    make_offer(session, course_id=course_id, course_version=2, price_minor=5900)
    assert Offer.get(session, course_id).amount_minor == 5900


def test_repeated_or_stale_publication_is_ignored(session):
    course_id = make_offer(session, course_version=2, price_minor=5900)
    make_offer(session, course_id=course_id, course_version=2, price_minor=5900)
    make_offer(session, course_id=course_id, course_version=1, price_minor=4900)
    assert Offer.get(session, course_id).amount_minor == 5900


def test_changed_price_applies_immediately(session):
    course_id = make_offer(session, price_minor=4900)
    for _ in range(2):
        update_offer(session, event=course_updated(course_id, price_minor=3900))
    assert Offer.get(session, course_id).amount_minor == 3900


def test_updated_draft_is_not_on_sale(session):
    course_id = uuid4()
    update_offer(session, event=course_updated(course_id, on_sale=False))
    with pytest.raises(NotFound):
        Offer.get(session, course_id)


def test_unpublished_or_archived_course_is_not_found(session):
    unpublished, archived = make_offer(session), make_offer(session)
    update_offer(session, event=course_updated(unpublished, on_sale=False))
    for _ in range(2):
        withdraw_offer(session, event=CourseArchived(course_id=archived, archived_at=utc_now()))
    for course_id in (unpublished, archived):
        with pytest.raises(NotFound):
            Offer.get(session, course_id)


def test_republished_course_is_on_sale_again(session):
    course_id = make_offer(session)
    update_offer(session, event=course_updated(course_id, on_sale=False))
    make_offer(session, course_id=course_id, course_version=2)
    assert Offer.get(session, course_id).on_sale


def test_stale_publication_does_not_revert_price(session):
    course_id = uuid4()
    published = build_event(CoursePublished, course_id=course_id, price_minor=1000, currency="USD")

    update_offer(session, event=course_updated(course_id, price_minor=9900), event_version=2)
    upsert_offer(session, event=published, event_version=1)

    assert Offer.get(session, course_id).amount_minor == 9900


def test_stale_update_does_not_restore_archived_course(session):
    course_id = make_offer(session)

    withdraw_offer(session, event=CourseArchived(course_id=course_id, archived_at=utc_now()), event_version=3)
    update_offer(session, event=course_updated(course_id), event_version=2)

    with pytest.raises(NotFound):
        Offer.get(session, course_id)
