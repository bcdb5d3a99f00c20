"""A refund ends what its order granted, and nothing else."""

from uuid import uuid4

import msgspec
import pytest

from models.base import new_id, now, sessions
from models.courses.enrollments import Enrollment
from models.events import PaymentRefunded, RefundReturned
from tests.courses.factories import make_course, purchase_of, told
from tests.support.events import some
from workers.courses.access import end_access, grant_access, restore_access
from workers.courses.learning import enroll_other, list_enrollments, show_access


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
            "order_refunded": True,
            "refunded_at": now(),
            **fields,
        }
    )


def return_of(purchase, **fields) -> RefundReturned:
    return some(RefundReturned, **{"order_id": purchase.order_id, "user_id": purchase.user_id} | fields)


@pytest.fixture
def course(session):
    return make_course(session)


@pytest.fixture
def purchase(session, course):
    purchase = purchase_of(course)
    grant_access(session, event=purchase)
    return purchase


def access(session, purchase) -> bool:
    return show_access(session, user_id=purchase.user_id, course_id=purchase.course_id)["access"]


def events(session, purchase) -> list[str]:
    enrollment = Enrollment.find(session, purchase.user_id, purchase.course_id)
    return [event.type for event in told(session, enrollment.id)]


def test_a_full_refund_ends_access_and_tells_of_it_once(session, purchase):
    for _ in range(2):
        end_access(session, event=refund_of(purchase))
    shown = show_access(session, user_id=purchase.user_id, course_id=purchase.course_id)
    assert (shown["access"], shown["reason"]) == (False, "ended")
    [grant] = shown["grants"]
    assert (grant["status"], grant["reason"]) == ("revoked", "refunded")
    [item] = list_enrollments(session, user_id=purchase.user_id, after=None, limit=5)["items"]
    assert item["status"] == "ended"
    assert events(session, purchase) == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED"]


def test_a_partial_refund_leaves_access(session, purchase):
    end_access(session, event=refund_of(purchase, order_refunded=False))
    assert access(session, purchase)
    assert events(session, purchase) == ["ENROLLMENT_CREATED"]


def test_access_that_came_by_another_grant_too_stays(session, course, purchase):
    enroll_other(session, user_id=purchase.user_id, course_id=course.id, granted_by=uuid4())
    end_access(session, event=refund_of(purchase))
    assert access(session, purchase)
    assert events(session, purchase) == ["ENROLLMENT_CREATED"]


def test_the_refund_of_one_order_leaves_what_another_paid_for(session, course, purchase):
    # tutor#2346
    second = purchase_of(course, user_id=purchase.user_id)
    grant_access(session, event=second)
    end_access(session, event=refund_of(purchase))
    assert access(session, purchase)
    end_access(session, event=refund_of(second))
    assert not access(session, purchase)


def test_a_course_bought_again_after_a_refund_is_open_again(session, course, purchase):
    end_access(session, event=refund_of(purchase))
    grant_access(session, event=purchase)  # the old purchase, delivered late, gives nothing back
    assert not access(session, purchase)
    grant_access(session, event=purchase_of(course, user_id=purchase.user_id))
    assert access(session, purchase)


def test_a_refund_that_nobody_was_let_in_by_changes_nothing(session, course):
    end_access(session, event=refund_of(purchase_of(course)))


def test_a_refund_that_is_delivered_twice_is_done_once(database, deliver):
    with sessions("courses").begin() as session:
        purchase = purchase_of(make_course(session))
        grant_access(session, event=purchase)
    event_id, message = uuid4(), {"event": msgspec.to_builtins(refund_of(purchase))}
    first, second = (deliver("courses.end_access", message, event_id=event_id) for _ in range(2))
    assert (first.get("replayed"), second["replayed"]) == (None, True)
    assert database.value("SELECT count(*) FROM bus.outbox WHERE type = 'ENROLLMENT_ENDED'") == 1


# Refunds that come back.


def test_what_a_returned_refund_had_closed_is_open_again_and_told_once(session, purchase):
    end_access(session, event=refund_of(purchase))
    for _ in range(2):
        restore_access(session, event=return_of(purchase, order_restored=True))
    [grant] = show_access(session, user_id=purchase.user_id, course_id=purchase.course_id)["grants"]
    assert (access(session, purchase), grant["status"], grant["reason"], grant["ends_at"]) == (
        True, "active", None, None,
    )  # fmt: skip
    assert events(session, purchase) == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED", "ENROLLMENT_CREATED"]


def test_a_part_that_comes_back_opens_nothing(session, purchase):
    end_access(session, event=refund_of(purchase))
    restore_access(session, event=return_of(purchase, order_restored=False))
    assert not access(session, purchase)


def test_a_refund_that_a_repair_sends_after_its_return_closes_nothing(session, purchase):
    restore_access(session, event=return_of(purchase, order_restored=True), event_version=4)
    end_access(session, event=refund_of(purchase), event_version=3)
    assert access(session, purchase)
    end_access(session, event=refund_of(purchase), event_version=5)
    assert not access(session, purchase)
    restore_access(session, event=return_of(purchase, order_restored=True), event_version=4)
    assert not access(session, purchase)


def test_a_refund_that_leaves_access_leaves_it(session, purchase):
    end_access(session, event=refund_of(purchase, access_kept=True))
    assert access(session, purchase)


def test_access_that_came_by_another_grant_is_not_told_again(session, purchase):
    enroll_other(session, user_id=purchase.user_id, course_id=purchase.course_id, granted_by=uuid4())
    end_access(session, event=refund_of(purchase))
    restore_access(session, event=return_of(purchase, order_restored=True))
    assert events(session, purchase) == ["ENROLLMENT_CREATED"]


def test_a_return_that_is_delivered_twice_is_done_once(database, deliver):
    with sessions("courses").begin() as session:
        purchase = purchase_of(make_course(session))
        grant_access(session, event=purchase)
        end_access(session, event=refund_of(purchase))
    event_id, message = uuid4(), {"event": msgspec.to_builtins(return_of(purchase, order_restored=True))}
    sent = {"event_id": event_id, "event_headers": {"ce_sequence": "4"}}
    first, second = (deliver("courses.restore_access", message, **sent) for _ in range(2))
    assert (first.get("replayed"), second["replayed"]) == (None, True)
    with sessions("courses")() as session:
        assert events(session, purchase) == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED", "ENROLLMENT_CREATED"]


def test_purchase_that_arrives_after_its_refund_gives_no_access(session, course):
    purchase = purchase_of(course)

    end_access(session, event=refund_of(purchase), event_version=4)
    grant_access(session, event=purchase)

    assert not access(session, purchase)
    assert events(session, purchase) == []


def test_purchase_that_arrives_after_a_returned_refund_gives_access(session, course):
    purchase = purchase_of(course)

    end_access(session, event=refund_of(purchase), event_version=4)
    restore_access(session, event=return_of(purchase, order_restored=True), event_version=5)
    grant_access(session, event=purchase)

    assert access(session, purchase)
