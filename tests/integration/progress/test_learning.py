"""Reopened lessons, playback positions and merged offline progress."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from core.db import session_factory
from models.errors import LessonLocked, NotEnrolled, NotFound, ProgressNotFound
from models.events import EnrollmentEnded, LessonCompleted
from models.progress import CompletedLesson, CourseProgress, PlaybackPosition
from tests.integration.progress.builders import NOON, Learner
from tests.support.databases import Database
from tests.support.events import build_event
from tests.support.polling import run_concurrently
from tests.support.tasks import noop_cache
from workers.progress.certificates import list_certificates, show_certificate
from workers.progress.learning import close_course_progress, move_position, start_course
from workers.progress.queries import list_progress, show_position, show_progress


def test_reopened_lesson_becomes_next_lesson(session: Session):
    learner = Learner(session)
    for lesson_id in learner.lessons:
        learner.complete(lesson_id)
    progress = learner.reopen(learner.lessons[1])
    assert (progress["percent"], progress["status"], progress["completed_at"]) == (66, "in_progress", None)
    assert progress["next_lesson_id"] == learner.lessons[1]
    assert learner.published_events()[-1][0] == "LESSON_REOPENED"


def test_reopening_incomplete_lesson_is_noop(session: Session):
    learner = Learner(session)
    assert learner.reopen(learner.lessons[0]) == learner.progress()
    assert learner.published_events() == [("COURSE_STARTED", 1)]
    with pytest.raises(NotFound):
        learner.reopen(uuid4())


def test_course_completes_once_despite_reopening(session: Session):
    learner = Learner(session, lessons=1)
    learner.complete(learner.lessons[0])
    [certificate] = list_certificates(session, user_id=learner.user_id, after=None, limit=20)["items"]
    learner.reopen(learner.lessons[0])
    assert learner.complete(learner.lessons[0])["status"] == "completed"
    assert [type_ for type_, _ in learner.published_events()] == [
        *("COURSE_STARTED", "LESSON_COMPLETED", "COURSE_COMPLETED", "CERTIFICATE_ISSUED"),
        *("LESSON_REOPENED", "LESSON_COMPLETED"),
    ]
    assert list_certificates(session, user_id=learner.user_id, after=None, limit=20)["items"] == [certificate]


def test_certificate_is_public_by_code(session: Session):
    learner = Learner(session, lessons=1)
    assert list_certificates(session, user_id=learner.user_id, after=None, limit=20)["items"] == []
    learner.complete(learner.lessons[0])
    [certificate] = list_certificates(session, user_id=learner.user_id, after=None, limit=20)["items"]
    assert certificate["course_title"] == "Bread"
    shown = show_certificate(session, code=certificate["code"])
    assert {**certificate, "user_id": learner.user_id}.items() <= shown.items()
    with pytest.raises(NotFound):
        show_certificate(session, code="0000-0000-0000-0000")


def test_position_can_go_back_while_furthest_stays(session: Session):
    learner = Learner(session)
    lesson_id = learner.lessons[1]
    assert [learner.move(lesson_id, seconds) for seconds in (95, 30, 60)] == [(95, 95), (30, 95), (60, 95)]
    assert learner.progress()["last_lesson_id"] == lesson_id
    shown = show_position(session, **learner.in_course, lesson_id=lesson_id)
    assert (shown["position_seconds"], shown["furthest_seconds"]) == (60, 95)
    assert show_position(session, **learner.in_course, lesson_id=learner.lessons[0])["furthest_seconds"] == 0


def test_position_requires_access_and_unlocked_lesson(session: Session):
    learner = Learner(session, sequential=True)
    with pytest.raises(LessonLocked, match=str(learner.lessons[0])):
        learner.move(learner.lessons[1], 10)
    stranger = {**learner.in_course, "user_id": uuid4()}
    with pytest.raises(NotEnrolled):
        move_position(session, noop_cache, **stranger, lesson_id=learner.lessons[0], position_seconds=1)


Actions = list[tuple[int, int, int | None]]  # number of the lesson, minute, position or None for a completion


@st.composite
def offline_batches(draw: st.DrawFn) -> tuple[Actions, list[Actions]]:
    """Draw what devices did, and the same in another order, with repetitions, split into batches."""
    action = st.tuples(st.integers(0, 1), st.integers(1, 4), st.sampled_from([None, None, 40]))
    actions = draw(st.lists(action, min_size=2, max_size=5, unique=True))
    shuffled = draw(st.permutations(actions + draw(st.lists(st.sampled_from(actions), max_size=3))))
    size = draw(st.integers(1, 3))
    return actions, [shuffled[start : start + size] for start in range(0, len(shuffled), size)]


@pytest.mark.parametrize("sequential", [False, True])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=offline_batches())
@example(
    drawn=([(1, 2, None), (0, 1, None)], [[(1, 2, None)], [(0, 1, None)]])
)  # the second lesson waits for the first
@example(drawn=([(0, 3, None), (0, 1, None)], [[(0, 3, None)], [(0, 1, None)]]))  # the earlier time counts
def test_offline_events_lead_to_the_same_state_in_any_order(session: Session, sequential, drawn):
    actions, other_batches = drawn
    states = []
    for batches in ([sorted(actions, key=lambda each: each[1])], other_batches):
        learner = Learner(session, lessons=2, sequential=sequential, duration_seconds=60)
        for batch in batches:
            learner.merge(
                *(
                    learner.offline_event(learner.lessons[lesson], minute=minute, position_seconds=position)
                    for lesson, minute, position in batch
                )
            )
        states.append(state_of(learner))

    assert states[0] == states[1]


def state_of(learner: Learner) -> dict:
    """Return the progress of a learner, with numbers in place of the ids of lessons, which differ between learners."""
    session = learner.session
    session.flush()
    number = {lesson_id: place for place, lesson_id in enumerate(learner.lessons)}
    progress = learner.progress()
    times = CompletedLesson.list_times(session, learner.user_id, learner.course_id)
    positions = PlaybackPosition.list_for_user(session, learner.user_id)
    return {
        "counts": (progress["lessons_completed"], progress["status"], progress["completed_at"]),
        "next": number.get(progress["next_lesson_id"]),
        "completed": {number[lesson_id]: at for lesson_id, at in times.items()},
        "positions": sorted(
            (number[each["lesson_id"]], each["position_seconds"], each["moved_at"]) for each in positions
        ),
    }


def test_offline_completion_before_a_lesson_was_reopened_is_ignored(session: Session):
    learner = Learner(session)
    done = learner.offline_event(learner.lessons[0], minute=1)
    learner.merge(done)
    learner.reopen(learner.lessons[0])

    assert learner.merge(done) == [None]
    assert learner.progress()["lessons_completed"] == 0


def test_late_offline_position_updates_furthest_only(session: Session):
    learner = Learner(session)
    lesson_id = learner.lessons[0]
    learner.merge(learner.offline_event(lesson_id, minute=5, position_seconds=40))
    learner.merge(learner.offline_event(lesson_id, minute=3, position_seconds=90))
    shown = show_position(session, **learner.in_course, lesson_id=lesson_id)
    assert (shown["position_seconds"], shown["furthest_seconds"]) == (40, 90)


def test_offline_batch_is_partially_applied(session: Session):
    learner = Learner(session, sequential=True)
    other_course = Learner(session).offline_event(uuid4(), minute=1)
    other_course.course_id = uuid4()
    ahead, first = (
        learner.offline_event(learner.lessons[2], minute=2),
        learner.offline_event(learner.lessons[0], minute=3),
    )
    assert learner.merge(other_course, ahead, first) == ["not_enrolled", "lesson_locked", None]
    assert learner.progress()["lessons_completed"] == 1


def test_events_with_same_id_from_two_devices_are_independent(session: Session):
    learner = Learner(session, sequential=True)
    first, ahead = (
        learner.offline_event(learner.lessons[0], minute=1),
        learner.offline_event(learner.lessons[2], minute=1),
    )

    assert learner.merge(first, ahead) == [None, "lesson_locked"]


def test_progress_is_paged_by_latest_start(session: Session):
    user_id, same_time = uuid4(), NOON + timedelta(days=1)
    courses = [Learner(session, user_id=user_id).course_id for _ in range(4)]
    started = dict(zip(courses, (NOON, same_time, same_time, NOON + timedelta(days=2)), strict=True))
    for course_id, at in started.items():
        session.get_one(CourseProgress, (user_id, course_id)).started_at = at
    session.flush()

    pages, after = [], None
    while not pages or after:
        page = list_progress(session, user_id=user_id, after=after, limit=1)
        pages.append([progress["course_id"] for progress in page["items"]])
        after = page["next"]

    assert pages == [[each] for each in sorted(courses, key=lambda each: (started[each], each), reverse=True)]


def test_concurrent_completions_are_all_counted(database: Database, deliver):
    with session_factory("progress").begin() as session:
        learner = Learner(session, lessons=8)
    calls = [
        lambda lesson_id=lesson_id: deliver("progress.complete_lesson", {**learner.in_course, "lesson_id": lesson_id})
        for lesson_id in learner.lessons
    ]
    percents = sorted(reply["result"]["percent"] for reply in run_concurrently(*calls))
    assert percents == [12, 25, 37, 50, 62, 75, 87, 100]
    counts = database.rows(
        "SELECT payload->>'lessons_completed' FROM bus.outbox WHERE type = :type", type=LessonCompleted.type
    )
    assert sorted(int(count) for (count,) in counts) == list(range(1, 9))


def test_enrollment_end_before_start_closes_course(session):
    learner = Learner(session)
    late = uuid4()
    enrolled = replace(learner.enrolled(), user_id=late)
    ended = build_event(EnrollmentEnded, user_id=late, course_id=learner.course_id)

    close_course_progress(session, noop_cache, event=ended, event_version=2)
    start_course(session, noop_cache, event=enrolled, event_version=1)

    with pytest.raises(ProgressNotFound):
        show_progress(session, user_id=late, course_id=learner.course_id)


def test_stale_enrollment_end_does_not_close_reopened_course(session):
    learner = Learner(session)
    ended = build_event(EnrollmentEnded, **learner.in_course)

    start_course(session, noop_cache, event=learner.enrolled(), event_version=3)
    close_course_progress(session, noop_cache, event=ended, event_version=2)

    assert learner.progress()["status"] == "in_progress"
