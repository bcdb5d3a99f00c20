"""A dispute suspends the access that its order granted until the bank has decided."""

from uuid import uuid4

import pytest

from models.courses.enrollments import Enrollment
from models.events import DisputeClosed, DisputeOpened
from tests.integration.courses.factories import make_course, published_events, purchase_of
from tests.integration.courses.test_refunds import enrollment_events, has_access, refund_of
from tests.support.events import build_event
from workers.courses.access import apply_dispute_outcome, grant_access, revoke_access_on_refund, suspend_access
from workers.courses.learning import enroll_user_as_admin, show_access


@pytest.fixture
def purchase(session):
    purchase = purchase_of(make_course(session))
    grant_access(session, event=purchase)
    return purchase


def dispute_opened(purchase, *, order_suspended: bool = True) -> DisputeOpened:
    return build_event(
        DisputeOpened, order_id=purchase.order_id, user_id=purchase.user_id, order_suspended=order_suspended
    )


def dispute_won(purchase) -> DisputeClosed:
    return build_event(
        DisputeClosed, order_id=purchase.order_id, user_id=purchase.user_id, won=True, order_restored=True
    )


def dispute_lost(purchase) -> DisputeClosed:
    return build_event(DisputeClosed, order_id=purchase.order_id, user_id=purchase.user_id, order_charged_back=True)


def grant_status(session, purchase) -> tuple[str, str | None]:
    [grant] = show_access(session, user_id=purchase.user_id, course_id=purchase.course_id)["grants"]
    return grant["status"], grant["reason"]


def test_dispute_suspends_access_until_won(session, purchase):
    for _ in range(2):
        suspend_access(session, event=dispute_opened(purchase))
    assert (has_access(session, purchase), grant_status(session, purchase)) == (False, ("suspended", "disputed"))
    for _ in range(2):
        apply_dispute_outcome(session, event=dispute_won(purchase))
    assert (has_access(session, purchase), grant_status(session, purchase)) == (True, ("active", None))
    assert enrollment_events(session, purchase) == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED", "ENROLLMENT_CREATED"]


def test_end_of_suspended_access_is_published_with_its_final_reason_once(session, purchase):
    suspend_access(session, event=dispute_opened(purchase))
    for _ in range(2):
        apply_dispute_outcome(session, event=dispute_lost(purchase))

    assert grant_status(session, purchase) == ("revoked", "charged_back")
    enrollment = Enrollment.find(session, purchase.user_id, purchase.course_id)
    ended = [event for event in published_events(session, enrollment.id) if event.type == "ENROLLMENT_ENDED"]
    assert [event.payload["reason"] for event in ended] == ["disputed", "charged_back"]


def test_other_grant_keeps_access_during_dispute(session, purchase):
    enroll_user_as_admin(session, user_id=purchase.user_id, course_id=purchase.course_id, granted_by=uuid4())
    suspend_access(session, event=dispute_opened(purchase))
    apply_dispute_outcome(session, event=dispute_lost(purchase))
    assert has_access(session, purchase)
    assert enrollment_events(session, purchase) == ["ENROLLMENT_CREATED"]


def test_refunded_grant_stays_revoked_on_dispute(session, purchase):
    revoke_access_on_refund(session, event=refund_of(purchase))
    suspend_access(session, event=dispute_opened(purchase, order_suspended=False))
    suspend_access(session, event=dispute_opened(purchase))
    assert grant_status(session, purchase) == ("revoked", "refunded")


def test_stale_dispute_event_is_ignored(session, purchase):
    apply_dispute_outcome(session, event=dispute_won(purchase), event_version=4)
    suspend_access(session, event=dispute_opened(purchase), event_version=3)
    assert has_access(session, purchase)
