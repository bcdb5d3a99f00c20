"""A subscription grants access to all courses of its plan; its end revokes only its own grants."""

from uuid import uuid4

import pytest

from core.db import new_id, utc_now
from models.courses.enrollments import Enrollment
from models.events import SubscriptionExpired, SubscriptionRestored, SubscriptionStarted
from tests.integration.courses.factories import make_course, published_events, purchase_of
from tests.support.events import build_event
from workers.courses.access import (
    grant_access,
    grant_subscription_access,
    restore_subscription_access,
    revoke_subscription_access,
)
from workers.courses.learning import show_access


@pytest.fixture
def courses(session):
    return [make_course(session) for _ in range(3)]


@pytest.fixture
def started(courses) -> SubscriptionStarted:
    course_ids = [course.id for course in courses]
    return build_event(SubscriptionStarted, subscription_id=new_id(), user_id=uuid4(), course_ids=course_ids)


def ended(started) -> SubscriptionExpired:
    return build_event(SubscriptionExpired, subscription_id=started.subscription_id, user_id=started.user_id)


def access(session, user_id, courses) -> list[bool]:
    return [show_access(session, user_id=user_id, course_id=course.id)["access"] for course in courses]


def test_subscription_grants_and_revokes_plan_courses_once(session, courses, started):
    for _ in range(2):
        grant_subscription_access(session, event=started)
    assert access(session, started.user_id, courses) == [True] * 3
    for _ in range(2):
        revoke_subscription_access(session, event=ended(started))
    assert access(session, started.user_id, courses) == [False] * 3
    for course in courses:
        enrollment = Enrollment.find(session, started.user_id, course.id)
        assert [event.type for event in published_events(session, enrollment.id)] == [
            "ENROLLMENT_CREATED",
            "ENROLLMENT_ENDED",
        ]
        assert [(grant.source, grant.reason) for grant in enrollment.grants] == [("subscription", "subscription_ended")]


def test_purchased_course_survives_subscription_end(session, courses, started):
    grant_access(session, event=purchase_of(courses[0], user_id=started.user_id, purchased_at=utc_now()))
    grant_subscription_access(session, event=started)
    revoke_subscription_access(session, event=ended(started))
    assert access(session, started.user_id, courses) == [True, False, False]
    enrollment = Enrollment.find(session, started.user_id, courses[0].id)
    assert [event.type for event in published_events(session, enrollment.id)] == ["ENROLLMENT_CREATED"]


def test_end_of_other_subscription_keeps_access(session, courses, started):
    grant_subscription_access(session, event=started)
    revoke_subscription_access(session, event=build_event(SubscriptionExpired, user_id=started.user_id))
    assert access(session, started.user_id, courses) == [True] * 3


def restored(started) -> SubscriptionRestored:
    return build_event(SubscriptionRestored, subscription_id=started.subscription_id, user_id=started.user_id)


def test_late_start_after_end_gives_no_access(session, courses, started):
    revoke_subscription_access(session, event=ended(started), event_version=2)
    grant_subscription_access(session, event=started)

    assert access(session, started.user_id, courses) == [False] * 3


def test_restored_subscription_restores_access(session, courses, started):
    grant_subscription_access(session, event=started)
    revoke_subscription_access(session, event=ended(started), event_version=2)
    for _ in range(2):
        restore_subscription_access(session, event=restored(started), event_version=3)
    assert access(session, started.user_id, courses) == [True] * 3
    revoke_subscription_access(session, event=ended(started), event_version=2)  # redelivered after a newer event
    assert access(session, started.user_id, courses) == [True] * 3
    enrollment = Enrollment.find(session, started.user_id, courses[0].id)
    event_types = [event.type for event in published_events(session, enrollment.id)]
    assert event_types == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED", "ENROLLMENT_CREATED"]
