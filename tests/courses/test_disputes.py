"""A dispute suspends what its order granted, until the bank has decided."""

from uuid import uuid4

import msgspec
import pytest

from models.base import sessions
from models.events import DisputeClosed, PaymentDisputed
from tests.courses.factories import make_course, purchase_of
from tests.courses.test_refunds import access, events, refund_of
from tests.support.events import some
from workers.courses.access import end_access, grant_access, settle_access, suspend_access
from workers.courses.learning import enroll_other, show_access


@pytest.fixture
def purchase(session):
    purchase = purchase_of(make_course(session))
    grant_access(session, event=purchase)
    return purchase


def opened(purchase, *, order_suspended: bool = True) -> PaymentDisputed:
    return some(PaymentDisputed, order_id=purchase.order_id, user_id=purchase.user_id, order_suspended=order_suspended)


def won(purchase) -> DisputeClosed:
    return some(DisputeClosed, order_id=purchase.order_id, user_id=purchase.user_id, won=True, order_restored=True)


def lost(purchase) -> DisputeClosed:
    return some(DisputeClosed, order_id=purchase.order_id, user_id=purchase.user_id, order_charged_back=True)


def grant(session, purchase) -> tuple[str, str | None]:
    [grant] = show_access(session, user_id=purchase.user_id, course_id=purchase.course_id)["grants"]
    return grant["status"], grant["reason"]


def test_a_dispute_suspends_and_one_that_is_won_opens_again(session, purchase):
    for _ in range(2):
        suspend_access(session, event=opened(purchase))
    assert (access(session, purchase), grant(session, purchase)) == (False, ("suspended", "disputed"))
    for _ in range(2):
        settle_access(session, event=won(purchase))
    assert (access(session, purchase), grant(session, purchase)) == (True, ("active", None))
    assert events(session, purchase) == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED", "ENROLLMENT_CREATED"]


def test_one_that_is_lost_ends_it_and_tells_of_the_end_once(session, purchase):
    suspend_access(session, event=opened(purchase))
    settle_access(session, event=lost(purchase))
    assert grant(session, purchase) == ("revoked", "charged_back")
    assert events(session, purchase) == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED"]


def test_other_grants_keep_the_course_open(session, purchase):
    enroll_other(session, user_id=purchase.user_id, course_id=purchase.course_id, granted_by=uuid4())
    suspend_access(session, event=opened(purchase))
    settle_access(session, event=lost(purchase))
    assert access(session, purchase)
    assert events(session, purchase) == ["ENROLLMENT_CREATED"]


def test_what_was_refunded_before_is_not_suspended_but_over(session, purchase):
    end_access(session, event=refund_of(purchase))
    suspend_access(session, event=opened(purchase, order_suspended=False))
    suspend_access(session, event=opened(purchase))
    assert grant(session, purchase) == ("revoked", "refunded")


def test_a_dispute_that_a_repair_sends_after_its_end_closes_nothing(session, purchase):
    settle_access(session, event=won(purchase), event_version=4)
    suspend_access(session, event=opened(purchase), event_version=3)
    assert access(session, purchase)


@pytest.mark.parametrize(("task", "told"), [("suspend_access", opened), ("settle_access", lost)])
def test_news_that_is_delivered_twice_is_done_once(database, deliver, task, told):
    with sessions("courses").begin() as session:
        purchase = purchase_of(make_course(session))
        grant_access(session, event=purchase)
    message = {"event": msgspec.to_builtins(told(purchase))}
    sent = {"event_id": uuid4(), "event_headers": {"ce_sequence": "3"}}
    first, second = (deliver(f"courses.{task}", message, **sent) for _ in range(2))
    assert (first.get("replayed"), second["replayed"]) == (None, True)
    with sessions("courses")() as session:
        assert events(session, purchase) == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED"]
