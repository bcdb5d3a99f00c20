"""Lessons open by time: LESSON_UNLOCKED is published once, and learners have schedules of their own."""

from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.bus.outbox import OutboxEvent
from core.db import utc_now
from models.commands.progress import ScheduledLesson, ScheduleFields
from models.errors import LessonNotOpen, NotFound, PreconditionFailed
from models.events import CoursePublished, PublishedLesson, PublishedSection
from models.progress import CourseProgress
from models.progress.unlocks import replace_schedule, unlock_page
from tests.integration.courses.test_learner_courses import PublishedCourse, lessons_of
from tests.integration.courses.test_quizzes import QUIZ
from tests.integration.progress.builders import NOON, Learner
from tests.integration.progress.test_version_moves import Classmate, move_all
from tests.support.databases import Database
from tests.support.events import build_event
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens
from workers.progress.outline_projection import upsert_outline

DAY = timedelta(days=1)


def unlocked(session: Session) -> Counter[str]:
    """Return how many LESSON_UNLOCKED each lesson has."""
    session.flush()
    events = session.scalars(select(OutboxEvent).where(OutboxEvent.type == "LESSON_UNLOCKED"))
    return Counter(event.payload["lesson_id"] for event in events)


def reschedule(learner: Learner, *, at: datetime, shift_days: int = 0, version: int = 1, **lessons: datetime) -> None:
    """Replace the schedule of a learner; ``lessons`` are named by their places: l0, l1 …"""
    own = [ScheduledLesson(lesson_id=learner.lessons[int(name[1:])], opens_at=each) for name, each in lessons.items()]
    fields = ScheduleFields(shift_days=shift_days, lessons=own, reason="Ill")
    replace_schedule(learner.session, progress_of(learner), fields, expected_version=version, at=at)


def progress_of(learner: Learner) -> CourseProgress:
    return CourseProgress.get_for_update(learner.session, learner.user_id, learner.course_id)


def test_lessons_that_open_by_time_are_reported_once(session: Session):
    learner = Learner(session, opens_after_days=2)
    Classmate(learner)

    assert unlock_page(session, limit=10, at=NOON + DAY) == []
    pages = [len(unlock_page(session, limit=1, at=NOON + 9 * DAY)) for _ in range(3)]

    assert pages == [1, 1, 0]
    assert unlocked(session) == {str(each): 2 for each in learner.lessons}
    reschedule(learner, at=NOON + 9 * DAY, shift_days=10)
    assert len(unlock_page(session, limit=10, at=NOON + 20 * DAY)) == 1
    assert set(unlocked(session).values()) == {2}


def test_schedule_of_one_learner_opens_and_delays_lessons(session: Session):
    learner = Learner(session, opens_at=utc_now() + DAY)
    with pytest.raises(LessonNotOpen):
        learner.complete(learner.lessons[0])

    reschedule(learner, at=utc_now(), shift_days=-30, l2=utc_now() + 9 * DAY)

    assert unlocked(session) == {str(each): 1 for each in learner.lessons[:2]}
    assert learner.complete(learner.lessons[0])["lessons_completed"] == 1
    with pytest.raises(LessonNotOpen):
        learner.complete(learner.lessons[2])
    with pytest.raises(PreconditionFailed):
        reschedule(learner, at=utc_now())
    assert unlock_page(session, limit=10, at=utc_now() + 10 * DAY) == [learner.user_id]
    assert unlocked(session)[str(learner.lessons[2])] == 1


def test_pending_lesson_is_reported_after_a_change_of_schedule(session: Session):
    learner = Learner(session, opens_after_days=2)

    reschedule(learner, at=NOON + 5 * DAY, l0=NOON + 20 * DAY)  # the job is late: nothing is reported yet

    assert unlock_page(session, limit=10, at=NOON + 6 * DAY) == [learner.user_id]
    assert unlocked(session) == {str(each): 1 for each in learner.lessons[1:]}
    assert progress_of(learner).next_unlock_at == NOON + 20 * DAY


def test_lesson_behind_another_is_reported_as_not_available(session: Session):
    learner = Learner(session, lessons=2, sequential=True, opens_after_days=1)

    unlock_page(session, limit=10, at=NOON + DAY)

    events = session.scalars(select(OutboxEvent).where(OutboxEvent.type == "LESSON_UNLOCKED"))
    shown = {event.payload["lesson_id"]: event.payload["available"] for event in events}
    assert shown == {str(learner.lessons[0]): True, str(learner.lessons[1]): False}


def test_learners_without_access_are_reported_to_when_it_is_back(session: Session):
    learner = Learner(session, lessons=1, opens_after_days=1)
    progress = progress_of(learner)
    progress.close(reason="disputed", at=NOON)
    assert unlock_page(session, limit=10, at=NOON + DAY) == []

    progress.open_again(ends_at=None, at=NOON + DAY)

    assert unlock_page(session, limit=10, at=NOON + DAY) == [learner.user_id]


def test_move_to_another_version_plans_its_lessons(session: Session):
    learner = Learner(session, lessons=1)
    later = PublishedLesson(lesson_id=uuid4(), title="Later", opens_at=NOON + 5 * DAY)
    section = PublishedSection(section_id=uuid4(), lessons=[later])
    published = build_event(
        CoursePublished,
        course_id=learner.course_id,
        course_version=2,
        sections=[section],
        learners="move",
    )
    upsert_outline(session, event=published)

    move_all(session, limit=10)

    assert progress_of(learner).next_unlock_at == NOON + 5 * DAY


def test_unknown_lesson_is_refused(session: Session):
    learner = Learner(session)
    learner.lessons.append(uuid4())

    with pytest.raises(NotFound):
        reschedule(learner, at=NOON, l3=NOON)


def test_staff_changes_the_schedule_and_the_learner_sees_the_reason(database: Database, monkeypatch):
    trust_test_tokens(monkeypatch)
    learner = Person(gateway().test_client())
    staff = Person(learner.client, permissions=("courses:write", "courses:admin"))
    with running_worker("users", "courses", "progress", "payments"):
        course = PublishedCourse({**QUIZ, "unlock": {"after_days": 3}}, sequential=False)
        quiz = course.lessons[2]
        user_id = UUID(learner.get("/v1/me").json["id"])
        path = f"{course.path}/learners/{user_id}/schedule"
        body = {"lessons": [{"lesson_id": str(quiz), "opens_at": "2026-01-01T00:00:00Z"}], "reason": "Exam next week"}
        assert problem(staff.get(path)) == (404, "not_found")
        learner.send("POST", f"{course.path}/enrollments")
        assert lessons_of(learner.get(course.page).json)[2]["locked_reason"] == "not_open"
        version = {"If_Match": staff.get(path).headers["ETag"]}

        refused = [
            learner.send("PUT", path, body, **version),
            Person(learner.client, permissions=("courses:write",)).send("PUT", path, body, **version),
            staff.send("PUT", path, body),
            staff.send("PUT", path, body, If_Match='"7"'),
            staff.send("PUT", path, {**body, "lessons": body["lessons"] * 2}, **version),
        ]
        changed = staff.send("PUT", path, body, **version)

        assert [each.status_code for each in refused] == [403, 404, 428, 412, 422]
        assert (changed.status_code, changed.json["lessons"][0]["lesson_id"]) == (200, str(quiz))
        page = learner.get(course.page).json
        assert (page["schedule"]["reason"], lessons_of(page)[2]["locked"]) == ("Exam next week", False)
        assert learner.get(f"{course.path}/lessons/{quiz}").status_code == 200
        assert staff.send("DELETE", path, If_Match=changed.headers["ETag"]).status_code == 204
        page = learner.get(course.page).json
        assert (page["schedule"], lessons_of(page)[2]["locked_reason"]) == (None, "not_open")
    recorded = database.rows("SELECT task FROM bus.staff_actions WHERE kind = 'change' ORDER BY id")
    assert [task for (task,) in recorded] == ["progress.replace_schedule", "progress.remove_schedule"]
