"""What else learners do: take a completion back, stop and go on, make up for what they did offline."""

from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from models.base import sessions
from models.errors import LessonLocked, NoProgress, NotEnrolled, NotFound
from models.events import EnrollmentEnded, LessonCompleted
from models.progress import CourseProgress
from tests.progress.learners import NOON, Learner
from tests.support.databases import Database
from tests.support.events import some
from tests.support.tasks import forgotten
from tests.support.waiting import at_once
from workers.progress.learning import close_course, move_position, start_course
from workers.progress.showing import (
    list_certificates,
    list_progress,
    show_certificate,
    show_position,
    show_progress,
)


def test_a_reopened_lesson_no_longer_counts_and_is_the_next_one(session: Session):
    learner = Learner(session)
    for lesson_id in learner.lessons:
        learner.complete(lesson_id)
    progress = learner.reopen(learner.lessons[1])
    assert (progress["percent"], progress["status"], progress["completed_at"]) == (66, "in_progress", None)
    assert progress["next_lesson_id"] == learner.lessons[1]
    assert learner.told()[-1][0] == "LESSON_REOPENED"


def test_reopening_what_is_open_changes_nothing_and_tells_nothing(session: Session):
    learner = Learner(session)
    assert learner.reopen(learner.lessons[0]) == learner.progress()
    assert learner.told() == [("COURSE_STARTED", 1)]
    with pytest.raises(NotFound):
        learner.reopen(uuid4())


def test_a_course_is_completed_and_certified_once_however_often_it_is_reopened(session: Session):
    learner = Learner(session, lessons=1)
    learner.complete(learner.lessons[0])
    [certificate] = list_certificates(session, user_id=learner.user_id, after=None, limit=20)["items"]
    learner.reopen(learner.lessons[0])
    assert learner.complete(learner.lessons[0])["status"] == "completed"
    assert [type_ for type_, _ in learner.told()] == [
        *("COURSE_STARTED", "LESSON_COMPLETED", "COURSE_COMPLETED", "CERTIFICATE_ISSUED"),
        *("LESSON_REOPENED", "LESSON_COMPLETED"),
    ]
    assert list_certificates(session, user_id=learner.user_id, after=None, limit=20)["items"] == [certificate]


def test_a_certificate_is_shown_to_whoever_has_its_code(session: Session):
    learner = Learner(session, lessons=1)
    assert list_certificates(session, user_id=learner.user_id, after=None, limit=20)["items"] == []
    learner.complete(learner.lessons[0])
    [certificate] = list_certificates(session, user_id=learner.user_id, after=None, limit=20)["items"]
    assert certificate["course_title"] == "Bread"
    assert show_certificate(session, code=certificate["code"]) == {**certificate, "user_id": learner.user_id}
    with pytest.raises(NotFound):
        show_certificate(session, code="0000-0000-0000-0000")


def test_a_position_goes_back_and_the_furthest_stays(session: Session):
    learner = Learner(session)
    lesson_id = learner.lessons[1]
    assert [learner.move(lesson_id, seconds) for seconds in (95, 30, 60)] == [(95, 95), (30, 95), (60, 95)]
    assert learner.progress()["last_lesson_id"] == lesson_id
    shown = show_position(session, **learner.in_course, lesson_id=lesson_id)
    assert (shown["position_seconds"], shown["furthest_seconds"]) == (60, 95)
    assert show_position(session, **learner.in_course, lesson_id=learner.lessons[0])["furthest_seconds"] == 0


def test_there_is_no_position_in_a_locked_lesson_or_without_access(session: Session):
    learner = Learner(session, sequential=True)
    with pytest.raises(LessonLocked, match=str(learner.lessons[0])):
        learner.move(learner.lessons[1], 10)
    stranger = {**learner.in_course, "user_id": uuid4()}
    with pytest.raises(NotEnrolled):
        move_position(session, forgotten, **stranger, lesson_id=learner.lessons[0], position_seconds=1)


def test_what_was_done_offline_is_merged_in_the_order_in_which_it_was_done(session: Session):
    learner = Learner(session, lessons=2, sequential=True)
    first, second = learner.lessons
    events = (learner.did(second, minute=2), learner.did(first, minute=1))
    assert learner.merge(*events) == [None, None]
    assert learner.progress()["completed_at"] == NOON.replace(minute=2)
    assert learner.merge(*events) == [None, None]
    assert learner.told().count(("LESSON_COMPLETED", 2)) == 1


def test_a_position_that_comes_late_moves_the_furthest_only(session: Session):
    learner = Learner(session)
    lesson_id = learner.lessons[0]
    learner.merge(learner.did(lesson_id, minute=5, position_seconds=40))
    learner.merge(learner.did(lesson_id, minute=3, position_seconds=90))
    shown = show_position(session, **learner.in_course, lesson_id=lesson_id)
    assert (shown["position_seconds"], shown["furthest_seconds"]) == (40, 90)


def test_what_is_refused_of_a_batch_refuses_nothing_else(session: Session):
    learner = Learner(session, sequential=True)
    elsewhere = Learner(session).did(uuid4(), minute=1)
    elsewhere.course_id = uuid4()
    ahead, first = learner.did(learner.lessons[2], minute=2), learner.did(learner.lessons[0], minute=3)
    assert learner.merge(elsewhere, ahead, first) == ["not_enrolled", "lesson_locked", None]
    assert learner.progress()["lessons_completed"] == 1


def test_events_of_two_devices_with_the_same_id_get_their_own_results(session: Session):
    learner = Learner(session, sequential=True)
    first, ahead = learner.did(learner.lessons[0], minute=1), learner.did(learner.lessons[2], minute=1)

    assert learner.merge(first, ahead) == [None, "lesson_locked"]


def test_courses_are_listed_the_latest_first_in_pages(session: Session):
    learner = Learner(session)
    other = Learner(session)
    session.get_one(CourseProgress, (other.user_id, other.course_id)).user_id = learner.user_id
    session.flush()
    first = list_progress(session, user_id=learner.user_id, after=None, limit=1)
    second = list_progress(session, user_id=learner.user_id, after=first["next"], limit=1)
    listed = {page["items"][0]["course_id"] for page in (first, second)}
    assert (listed, second["next"]) == ({learner.course_id, other.course_id}, None)


def test_eight_lessons_completed_at_once_are_eight(database: Database, deliver):
    with sessions("progress").begin() as session:
        learner = Learner(session, lessons=8)
    acts = [
        lambda lesson_id=lesson_id: deliver("progress.complete_lesson", {**learner.in_course, "lesson_id": lesson_id})
        for lesson_id in learner.lessons
    ]
    percents = sorted(reply["result"]["percent"] for reply in at_once(*acts))
    assert percents == [12, 25, 37, 50, 62, 75, 87, 100]
    told = database.rows(
        "SELECT payload->>'lessons_completed' FROM bus.outbox WHERE type = :type", type=LessonCompleted.type
    )
    assert sorted(int(count) for (count,) in told) == list(range(1, 9))


def test_end_of_access_that_arrives_before_its_beginning_closes_the_course(session):
    learner = Learner(session)
    late = uuid4()
    begun = replace(learner.enrolled(), user_id=late)
    ended = some(EnrollmentEnded, user_id=late, course_id=learner.course_id)

    close_course(session, forgotten, event=ended, event_version=2)
    start_course(session, forgotten, event=begun, event_version=1)

    with pytest.raises(NoProgress):
        show_progress(session, user_id=late, course_id=learner.course_id)


def test_old_end_of_access_does_not_close_a_course_that_is_open_again(session):
    learner = Learner(session)
    ended = some(EnrollmentEnded, **learner.in_course)

    start_course(session, forgotten, event=learner.enrolled(), event_version=3)
    close_course(session, forgotten, event=ended, event_version=2)

    assert learner.progress()["status"] == "in_progress"
