from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from core.db import session_factory, utc_now
from models.commands.courses import Caller
from models.courses.enrollments import Enrollment, Grant
from models.errors import AccessPurchased, LessonNotOpen, NotEnrolled, NotFound, PaymentRequired, TokenMissing
from tests.integration.courses.factories import (
    author_of,
    completion_of,
    make_course,
    make_draft,
    make_lesson,
    noop_cache,
    published_events,
    purchase_of,
)
from workers.courses.access import grant_access, leave_course, revoke_access
from workers.courses.authoring import archive_course, publish_course
from workers.courses.catalogue import show_course
from workers.courses.learning import (
    enroll,
    enroll_user_as_admin,
    list_enrollments,
    on_lesson_completed,
    show_access,
    show_lesson,
)
from workers.courses.outline import remove_lesson

FREE = {"amount_minor": 0, "currency": "USD"}


def enrollment_of(session, user_id, course):
    return Enrollment.find(session, user_id, course.id)


def first_lesson_id(course):
    return next(course.lessons()).id


def test_purchase_grants_access_and_publishes_event_once(session):
    course = make_course(session)
    purchase = purchase_of(course)
    grant_access(session, event=purchase)
    grant_access(session, event=purchase)

    enrollment = enrollment_of(session, purchase.user_id, course)
    (event,) = published_events(session, enrollment.id)
    assert event.type == "ENROLLMENT_CREATED"
    assert (event.payload["source"], event.payload["source_id"]) == ("order", str(purchase.order_id))
    assert len(enrollment.grants) == 1
    assert show_course(session, ref=course.slug, caller=None)["id"] == course.id


def test_second_access_source_adds_grant_without_event(session):
    course = make_course(session, price=FREE)
    user_id = uuid4()
    enroll(session, user_id=user_id, course_id=course.id)
    grant_access(session, event=purchase_of(course, user_id=user_id))

    enrollment = enrollment_of(session, user_id, course)
    assert [grant.source for grant in enrollment.grants] == ["free", "order"]
    assert len(published_events(session, enrollment.id)) == 1


def test_concurrent_enrollments_create_one(database):
    with session_factory("courses").begin() as session:
        course = make_course(session, price=FREE)
    user_id, barrier = uuid4(), Barrier(8)

    def enroll_at_once(_):
        barrier.wait()
        with session_factory("courses").begin() as session:
            return enroll(session, user_id=user_id, course_id=course.id)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(enroll_at_once, range(8)))

    assert all(answer == answers[0] for answer in answers)
    assert (database.count("courses.grants"), database.count("courses.enrollments")) == (1, 1)
    assert database.value("SELECT count(*) FROM bus.outbox WHERE type = 'ENROLLMENT_CREATED'") == 1


def test_paid_course_requires_payment(session):
    course = make_course(session)
    with pytest.raises(PaymentRequired):
        enroll(session, user_id=uuid4(), course_id=course.id)


def test_unpublished_course_rejects_enrollment(session):
    draft = make_draft(session, price=FREE)
    for admit in (
        lambda: enroll(session, user_id=uuid4(), course_id=draft.id),
        lambda: enroll_user_as_admin(session, user_id=uuid4(), course_id=draft.id, granted_by=uuid4()),
        lambda: enroll(session, user_id=uuid4(), course_id=uuid4()),
    ):
        with pytest.raises(NotFound):
            admit()


def test_admin_enrollment_grants_manual_access(session):
    course = make_course(session)
    user_id, admin_id = uuid4(), uuid4()
    enroll_user_as_admin(session, user_id=user_id, course_id=course.id, granted_by=admin_id)

    access = show_access(session, user_id=user_id, course_id=course.id)
    (grant,) = access["grants"]
    assert (access["access"], access["reason"]) == (True, "manual")
    assert (grant["source"], grant["source_id"], grant["status"]) == ("manual", str(admin_id), "active")
    assert (grant["ends_at"], grant["reason"]) == (None, None)


def test_learner_leaves_free_course_and_joins_again(session):
    course = make_course(session, price={"amount_minor": 0, "currency": "USD"})
    ids = {"user_id": uuid4(), "course_id": course.id}
    enroll(session, **ids)

    for _ in range(2):
        leave_course(session, **ids)
    assert show_access(session, **ids)["access"] is False
    assert [each["state"] for each in show_access(session, **ids)["grants"]] == ["expired"]

    enroll(session, **ids)
    assert show_access(session, **ids)["access"] is True
    enrollment = Enrollment.find(session, **ids)
    events = published_events(session, enrollment.id)
    assert [each.type for each in events] == ["ENROLLMENT_CREATED", "ENROLLMENT_ENDED", "ENROLLMENT_CREATED"]
    assert events[1].payload["reason"] == "left"


def test_learner_whom_staff_removed_does_not_join_again(session):
    course = make_course(session, price={"amount_minor": 0, "currency": "USD"})
    ids = {"user_id": uuid4(), "course_id": course.id}
    enroll(session, **ids)
    revoke_access(session, **ids)

    leave_course(session, **ids)
    enroll(session, **ids)

    assert show_access(session, **ids)["access"] is False


def test_learner_who_left_and_whom_staff_removed_does_not_join_again(session):
    course = make_course(session, price={"amount_minor": 0, "currency": "USD"})
    ids = {"user_id": uuid4(), "course_id": course.id}
    enroll(session, **ids)
    leave_course(session, **ids)

    revoked = revoke_access(session, **ids)
    enroll(session, **ids)

    assert [grant["reason"] for grant in revoked["grants"]] == ["revoked_by_staff"]
    assert show_access(session, **ids)["access"] is False


def test_bought_course_is_not_left(session):
    course = make_course(session)
    purchase = purchase_of(course)
    grant_access(session, event=purchase)

    with pytest.raises(AccessPurchased):
        leave_course(session, user_id=purchase.user_id, course_id=course.id)
    with pytest.raises(NotFound):
        leave_course(session, user_id=uuid4(), course_id=course.id)


def test_access_denial_has_reason(session):
    course = make_course(session)
    assert show_access(session, user_id=uuid4(), course_id=course.id) == {
        "access": False,
        "grants": [],
        "reason": "not_enrolled",
    }
    with pytest.raises(NotFound):
        show_access(session, user_id=uuid4(), course_id=uuid4())


def test_expired_grant_gives_no_access(session):
    course = make_course(session)
    purchase = purchase_of(course)
    grant_access(session, event=purchase)
    session.execute(
        update(Grant)
        .where(Grant.user_id == purchase.user_id)
        .values(starts_at=utc_now() - timedelta(days=2), ends_at=utc_now() - timedelta(days=1))
    )

    assert show_access(session, user_id=purchase.user_id, course_id=course.id)["reason"] == "ended"
    (item,) = list_enrollments(session, user_id=purchase.user_id, after=None, limit=20)["items"]
    assert item["status"] == "ended"
    assert item["expires_at"] < utc_now()


def test_enrollments_are_paged_newest_first(session):
    user_id = uuid4()
    courses = [make_course(session, price=FREE, lessons=1) for _ in range(3)]
    for course in courses:
        enroll(session, user_id=user_id, course_id=course.id)
    first = list_enrollments(session, user_id=user_id, after=None, limit=2)
    rest = list_enrollments(session, user_id=user_id, after=first["next"], limit=2)

    found = first["items"] + rest["items"]
    assert [item["course_id"] for item in found] == [course.id for course in courses[::-1]]
    assert rest["next"] is None
    assert found[0].keys() == {"course_id", "status", "enrolled_at", "expires_at", "progress_percent"}
    assert (found[0]["status"], found[0]["expires_at"], found[0]["progress_percent"]) == ("active", None, 0)


def test_enrollment_progress_percent_is_rounded_down(session):
    course = make_course(session)
    purchase = purchase_of(course)
    grant_access(session, event=purchase)
    for done, percent in ((1, 33), (2, 66), (2, 66), (3, 100)):
        on_lesson_completed(session, event=completion_of(course, purchase.user_id, lessons_completed=done))
        (item,) = list_enrollments(session, user_id=purchase.user_id, after=None, limit=20)["items"]
        assert item["progress_percent"] == percent


def test_lesson_requires_access(session):
    course = make_course(session)
    purchase = purchase_of(course)
    grant_access(session, event=purchase)
    lesson_id = first_lesson_id(course)

    lesson = show_lesson(session, course_id=course.id, lesson_id=lesson_id, caller=Caller(purchase.user_id))
    assert lesson["version"] == 1
    assert lesson["view"]["content"] == {"body": "Words."}
    with pytest.raises(NotEnrolled):
        show_lesson(session, course_id=course.id, lesson_id=lesson_id, caller=Caller(uuid4()))
    with pytest.raises(TokenMissing):
        show_lesson(session, course_id=course.id, lesson_id=lesson_id, caller=None)
    with pytest.raises(NotFound):
        show_lesson(session, course_id=course.id, lesson_id=uuid4(), caller=Caller(purchase.user_id))


def test_free_preview_is_public_while_course_is_published(session):
    course = make_draft(session, lessons=0)
    author = author_of(course)
    section_id = str(course.add_section("Look inside").id)
    lesson = make_lesson(session, course.id, section_id, author, free_preview=True)
    question = {"course_id": course.id, "lesson_id": UUID(lesson["id"]), "caller": None}

    with pytest.raises(NotFound):
        show_lesson(session, **question)
    publish_course(session, noop_cache, ref=course.slug, caller=author)
    assert show_lesson(session, **question)["view"]["title"] == "A lesson"
    archive_course(session, noop_cache, ref=course.slug, caller=author, expected_version=course.version)
    with pytest.raises(TokenMissing):
        show_lesson(session, **question)


def test_learner_keeps_purchased_lesson_after_removal(session):
    course = make_course(session, lessons=2)
    author = author_of(course)
    purchase = purchase_of(course)
    grant_access(session, event=purchase)
    lesson_id = first_lesson_id(course)
    remove_lesson(session, course_id=course.id, lesson_id=lesson_id, caller=author, expected_version=course.version)
    publish_course(session, noop_cache, ref=course.slug, caller=author)
    archive_course(session, noop_cache, ref=course.slug, caller=author, expected_version=course.version)

    learner = Caller(purchase.user_id)
    assert show_lesson(session, course_id=course.id, lesson_id=lesson_id, caller=learner)["view"]["title"] == "Lesson 1"


def test_correct_answers_are_hidden_from_learners(session):
    question = {
        "id": "q",
        "text": "?",
        "multiple": False,
        "correct": ["a"],
        "options": [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}],
    }
    course = make_draft(session, lessons=0)
    author = author_of(course)
    section_id = str(course.add_section("Quiz").id)
    lesson = make_lesson(session, course.id, section_id, author, kind="quiz", content={"questions": [question]})
    publish_course(session, noop_cache, ref=course.slug, caller=author)
    purchase = purchase_of(course)
    grant_access(session, event=purchase)

    learner = Caller(purchase.user_id)
    shown = show_lesson(session, course_id=course.id, lesson_id=UUID(lesson["id"]), caller=learner)
    [question] = shown["view"]["content"]["questions"]
    assert [each["id"] for each in question["options"]] == ["a", "b"]
    assert "correct" not in question


@pytest.mark.parametrize(
    ("unlock", "opens"),
    [
        (None, True),
        ({"after_days": 0}, True),
        ({"after_days": 3}, False),
        ({"at": "2020-01-01T00:00:00Z"}, True),
        ({"at": "2200-01-01T00:00:00Z"}, False),
    ],
)
def test_lesson_opens_at_unlock_time(session, unlock, opens):
    course = make_draft(session, lessons=0)
    author = author_of(course)
    lesson = make_lesson(session, course.id, str(course.add_section("Drip").id), author, unlock=unlock)
    publish_course(session, noop_cache, ref=course.slug, caller=author)
    purchase = purchase_of(course)
    grant_access(session, event=purchase)

    question = {"course_id": course.id, "lesson_id": UUID(lesson["id"]), "caller": Caller(purchase.user_id)}
    if opens:
        assert show_lesson(session, **question)
    else:
        with pytest.raises(LessonNotOpen) as refused:
            show_lesson(session, **question)
        assert refused.value.code == "lesson_locked"
