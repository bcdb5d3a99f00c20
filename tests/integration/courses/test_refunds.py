"""A refund ends the grants of its order, and no others."""

from uuid import uuid4

import pytest

from core.db import new_id, utc_now
from models.courses.enrollments import Enrollment
from models.events import PaymentRefunded, RefundReversed
from tests.integration.courses.factories import make_course, published_events, purchase_of
from tests.support.events import build_event
from workers.courses.access import grant_access, restore_access, revoke_access_on_refund
from workers.courses.learning import enroll_user_as_admin, list_enrollments, show_access


def refund_of(purchase, **fields) -> PaymentRefunded:
    return PaymentRefunded(
        **{
            "order_id": purchase.order_id,
            "refund_id": new_id(),
            "payment_id": new_id(),
            "user_id": purchase.user_id,
            "description": purchase.course_title,
            "amount_minor": 4900,
            "currency": "USD",
            "provider": "stripe",
            "is_full_refund": True,
            "refunded_at": utc_now(),
            **fields,
        }
    )


def refund_reversal_of(purchase, **fields) -> RefundReversed:
    return build_event(RefundReversed, **{"order_id": purchase.order_id, "user_id": purchase.user_id} | fields)


@pytest.fixture
def course(session):
    return make_course(session)


@pytest.fixture
def purchase(session, course):
    purchase = purchase_of(course)
    grant_access(session, event=purchase)
    return purchase


def has_access(session, purchase) -> bool:
    return show_access(session, user_id=purchase.user_id, course_id=purchase.course_id)["access"]


def enrollment_events(session, purchase) -> list[str]:
    enrollment = Enrollment.find(session, purchase.user_id, purchase.course_id)
    return [event.type for event in published_events(session, enrollment.id)]


def test_full_refund_ends_access_once(session, purchase):
    for _ in range(2):
        revoke_access_on_refund(session, event=refund_of(purchase))
    shown = show_access(session, user_id=purchase.user_id, course_id=purchase.course_id)
    assert (shown["access"], shown["reason"]) == (False, "ended")
    [grant] = shown["grants"]
    assert (grant["status"], grant["reason"]) == ("revoked", "refunded")
    [item] = list_enrollments(session, user_id=purchase.user_id, after=None, limit=5)["items"]
    assert item["status"] == "ended"
    assert enrollment_events(session, purchase) == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED"]


def test_partial_refund_keeps_access(session, purchase):
    revoke_access_on_refund(session, event=refund_of(purchase, is_full_refund=False))
    assert has_access(session, purchase)
    assert enrollment_events(session, purchase) == ["ENROLLMENT_CREATED"]


def test_refund_keeps_access_from_other_grant(session, course, purchase):
    enroll_user_as_admin(session, user_id=purchase.user_id, course_id=course.id, granted_by=uuid4())
    revoke_access_on_refund(session, event=refund_of(purchase))
    assert has_access(session, purchase)
    assert enrollment_events(session, purchase) == ["ENROLLMENT_CREATED"]


def test_refund_keeps_access_from_second_order(session, course, purchase):
    # tutor#2346
    second = purchase_of(course, user_id=purchase.user_id)
    grant_access(session, event=second)
    revoke_access_on_refund(session, event=refund_of(purchase))
    assert has_access(session, purchase)
    revoke_access_on_refund(session, event=refund_of(second))
    assert not has_access(session, purchase)


def test_repurchase_after_refund_restores_access(session, course, purchase):
    revoke_access_on_refund(session, event=refund_of(purchase))
    grant_access(session, event=purchase)  # the old purchase, delivered late, restores nothing
    assert not has_access(session, purchase)
    grant_access(session, event=purchase_of(course, user_id=purchase.user_id))
    assert has_access(session, purchase)


def test_refund_without_enrollment_is_noop(session, course):
    revoke_access_on_refund(session, event=refund_of(purchase_of(course)))


# Refund reversals.


def test_refund_reversal_restores_access_once(session, purchase):
    revoke_access_on_refund(session, event=refund_of(purchase))
    for _ in range(2):
        restore_access(session, event=refund_reversal_of(purchase, order_restored=True))
    [grant] = show_access(session, user_id=purchase.user_id, course_id=purchase.course_id)["grants"]
    assert (has_access(session, purchase), grant["status"], grant["reason"], grant["ends_at"]) == (
        True, "active", None, None,
    )  # fmt: skip
    assert enrollment_events(session, purchase) == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED", "ENROLLMENT_CREATED"]


def test_partial_refund_reversal_does_not_restore_access(session, purchase):
    revoke_access_on_refund(session, event=refund_of(purchase))
    restore_access(session, event=refund_reversal_of(purchase, order_restored=False))
    assert not has_access(session, purchase)


def test_stale_refund_and_reversal_events_are_ignored(session, purchase):
    restore_access(session, event=refund_reversal_of(purchase, order_restored=True), event_version=4)
    revoke_access_on_refund(session, event=refund_of(purchase), event_version=3)
    assert has_access(session, purchase)
    revoke_access_on_refund(session, event=refund_of(purchase), event_version=5)
    assert not has_access(session, purchase)
    restore_access(session, event=refund_reversal_of(purchase, order_restored=True), event_version=4)
    assert not has_access(session, purchase)


def test_refund_with_access_kept_does_not_end_access(session, purchase):
    revoke_access_on_refund(session, event=refund_of(purchase, keeps_access=True))
    assert has_access(session, purchase)


def test_reversal_publishes_no_event_when_other_grant_is_active(session, purchase):
    enroll_user_as_admin(session, user_id=purchase.user_id, course_id=purchase.course_id, granted_by=uuid4())
    revoke_access_on_refund(session, event=refund_of(purchase))
    restore_access(session, event=refund_reversal_of(purchase, order_restored=True))
    assert enrollment_events(session, purchase) == ["ENROLLMENT_CREATED"]


def test_late_purchase_after_refund_gives_no_access(session, course):
    purchase = purchase_of(course)

    revoke_access_on_refund(session, event=refund_of(purchase), event_version=4)
    grant_access(session, event=purchase)

    assert not has_access(session, purchase)
    assert enrollment_events(session, purchase) == []


def test_late_purchase_after_refund_reversal_gives_access(session, course):
    purchase = purchase_of(course)

    revoke_access_on_refund(session, event=refund_of(purchase), event_version=4)
    restore_access(session, event=refund_reversal_of(purchase, order_restored=True), event_version=5)
    grant_access(session, event=purchase)

    assert has_access(session, purchase)
