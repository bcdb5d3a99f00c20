"""A subscription opens the courses of its plan, all of them, and closes what nothing else keeps open."""

from uuid import uuid4

import msgspec
import pytest

from models.base import new_id, now, sessions
from models.courses.enrollments import Enrollment
from models.events import SubscriptionExpired, SubscriptionRestored, SubscriptionStarted
from tests.courses.factories import make_course, purchase_of, told
from tests.support.events import some
from workers.courses.access import admit_subscriber, dismiss_subscriber, grant_access, readmit_subscriber
from workers.courses.learning import show_access


@pytest.fixture
def courses(session):
    return [make_course(session) for _ in range(3)]


@pytest.fixture
def started(courses) -> SubscriptionStarted:
    course_ids = [course.id for course in courses]
    return some(SubscriptionStarted, subscription_id=new_id(), user_id=uuid4(), course_ids=course_ids)


def ended(started) -> SubscriptionExpired:
    return some(SubscriptionExpired, subscription_id=started.subscription_id, user_id=started.user_id)


def access(session, user_id, courses) -> list[bool]:
    return [show_access(session, user_id=user_id, course_id=course.id)["access"] for course in courses]


def test_every_course_of_the_plan_is_opened_and_closed_and_told_once(session, courses, started):
    for _ in range(2):
        admit_subscriber(session, event=started)
    assert access(session, started.user_id, courses) == [True] * 3
    for _ in range(2):
        dismiss_subscriber(session, event=ended(started))
    assert access(session, started.user_id, courses) == [False] * 3
    for course in courses:
        enrollment = Enrollment.find(session, started.user_id, course.id)
        assert [event.type for event in told(session, enrollment.id)] == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED"]
        assert [(grant.source, grant.reason) for grant in enrollment.grants] == [("subscription", "subscription_ended")]


def test_a_course_that_was_bought_as_well_stays(session, courses, started):
    grant_access(session, event=purchase_of(courses[0], user_id=started.user_id, purchased_at=now()))
    admit_subscriber(session, event=started)
    dismiss_subscriber(session, event=ended(started))
    assert access(session, started.user_id, courses) == [True, False, False]
    enrollment = Enrollment.find(session, started.user_id, courses[0].id)
    assert [event.type for event in told(session, enrollment.id)] == ["ENROLLMENT_CREATED"]


def test_anothers_subscription_is_not_ended(session, courses, started):
    admit_subscriber(session, event=started)
    dismiss_subscriber(session, event=some(SubscriptionExpired, user_id=started.user_id))
    assert access(session, started.user_id, courses) == [True] * 3


def restored(started) -> SubscriptionRestored:
    return some(SubscriptionRestored, subscription_id=started.subscription_id, user_id=started.user_id)


def test_what_ended_is_open_again_when_the_subscription_is_restored(session, courses, started):
    admit_subscriber(session, event=started)
    dismiss_subscriber(session, event=ended(started), event_version=2)
    for _ in range(2):
        readmit_subscriber(session, event=restored(started), event_version=3)
    assert access(session, started.user_id, courses) == [True] * 3
    dismiss_subscriber(session, event=ended(started), event_version=2)  # repaired, and too late
    assert access(session, started.user_id, courses) == [True] * 3
    enrollment = Enrollment.find(session, started.user_id, courses[0].id)
    told_of = [event.type for event in told(session, enrollment.id)]
    assert told_of == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED", "ENROLLMENT_CREATED"]


def test_a_return_that_is_delivered_twice_is_done_once(database, deliver):
    with sessions("courses").begin() as session:
        course = make_course(session)
        begun = some(SubscriptionStarted, user_id=uuid4(), course_ids=[course.id])
        admit_subscriber(session, event=begun)
        dismiss_subscriber(session, event=ended(begun))
    message = {"event": msgspec.to_builtins(restored(begun))}
    sent = {"event_id": uuid4(), "event_headers": {"ce_sequence": "3"}}
    first, second = (deliver("courses.readmit_subscriber", message, **sent) for _ in range(2))
    assert (first.get("replayed"), second["replayed"]) == (None, True)
