"""One call is one transaction: all of it or nothing, in time or not at all, and nobody hears of it before."""

import time
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from celery_app import Envelope
from models import base
from models.base import new_id, sessions
from models.events import CoursePublished, EnrollmentCreated, PublishedLesson, PublishedSection
from models.progress import CourseProgress
from models.redis import RELAY_HINT, queue_redis
from settings import SERVICES
from tests.support.deliveries import carry_out
from tests.support.events import some
from tests.support.tasks import Notes, registered, write
from tests.support.waiting import at_once
from workers import _delivery


@pytest.fixture
def learner(deliver) -> dict[str, Any]:
    """Somebody at the first of two lessons: what progress.complete_lesson wants to know."""
    lessons = [some(PublishedLesson), some(PublishedLesson)]
    course = some(CoursePublished, sections=[some(PublishedSection, lessons=lessons)], sequential=True)
    enrollment = some(EnrollmentCreated, course_id=course.course_id)
    deliver("progress.keep_outline", {"event": course}, event_id=new_id())
    deliver("progress.start_course", {"event": enrollment}, event_id=new_id())
    return {"user_id": enrollment.user_id, "course_id": course.course_id, "lesson_id": lessons[0].lesson_id}


def told(database) -> list[str]:
    return [type_ for (type_,) in database.rows("SELECT type FROM bus.outbox ORDER BY seq")]


def test_what_a_task_returns_is_committed_with_its_events(database, deliver, learner):
    reply = deliver("progress.complete_lesson", learner)

    assert reply["result"]["lessons_completed"] == 1
    assert database.count("progress.completed_lessons") == 1
    assert told(database) == ["COURSE_STARTED", "LESSON_COMPLETED"]


def test_a_crash_leaves_nothing_behind(database, deliver, learner, monkeypatch):
    monkeypatch.setattr(CourseProgress, "view", lambda _: 1 / 0)  # the last thing that the task does
    reply = deliver("progress.complete_lesson", learner)

    assert "ZeroDivisionError" in reply["crash"]
    assert database.count("progress.completed_lessons") == 0
    assert told(database) == ["COURSE_STARTED"]


def test_a_refusal_is_told_by_name_and_leaves_nothing_behind(database, deliver, learner):
    deliver("progress.complete_lesson", learner)
    reply = deliver("progress.complete_lesson", {**learner, "lesson_id": new_id()})

    assert reply["error"]["name"] == "NotFound"
    assert told(database) == ["COURSE_STARTED", "LESSON_COMPLETED"]


def test_a_message_of_wrong_types_does_nothing(database, deliver, learner):
    assert "ValidationError" in deliver("progress.complete_lesson", {**learner, "lesson_id": 7})["crash"]
    assert database.count("progress.completed_lessons") == 0


def test_two_at_the_same_aggregate_come_one_after_another(database, deliver, learner):
    """Versions of one key are contiguous, whoever writes."""
    replies = at_once(*[lambda: deliver("progress.complete_lesson", learner)] * 4)

    assert [reply["result"]["lessons_completed"] for reply in replies] == [1] * 4
    versions = database.rows("SELECT aggregate_version FROM bus.outbox ORDER BY seq")
    assert versions == [(1,), (2,)]


def note(session: Session, *, note: str, seconds: float = 0) -> str:
    write(session, note)
    time.sleep(seconds)
    return note


def sleep_in_the_database(session: Session) -> None:
    write(session, "slept")
    session.execute(text("SELECT pg_sleep(20)"))


@pytest.fixture(autouse=True)
def tasks():
    with registered(note, sleep_in_the_database, note_and_poke):
        yield


def test_what_nobody_waits_for_any_more_is_not_begun(deliver, notes: Notes):
    reply = deliver("progress.note", {"note": "late"}, seconds_left=-1)

    assert reply["error"]["name"] == "OutcomeUnknown"
    assert notes() == []


def test_what_takes_longer_than_somebody_waits_is_undone(deliver, notes: Notes):
    reply = deliver("progress.note", {"note": "slow", "seconds": 0.4}, seconds_left=0.3)

    assert reply["error"]["name"] == "OutcomeUnknown"
    assert notes() == []


def test_the_database_stops_working_at_the_deadline(deliver, notes: Notes):
    began = time.monotonic()
    reply = deliver("progress.sleep_in_the_database", seconds_left=0.3)

    assert time.monotonic() - began < 5
    assert reply["error"]["name"] == "OutcomeUnknown"
    assert notes() == []


def test_the_reply_comes_after_the_commit(deliver, notes: Notes, monkeypatch):
    seen = []
    reply = _delivery.Delivery._reply  # noqa: SLF001 the moment in question
    monkeypatch.setattr(_delivery.Delivery, "_reply", lambda self: (seen.append(notes()), reply(self)))
    deliver("progress.note", {"note": "done"})

    assert seen == [["done"]]


def test_a_reply_and_a_wake_up_that_redis_loses_cost_nothing_but_time(database, deliver, learner, monkeypatch):
    away = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(_delivery, "queue_redis", lambda: away)

    assert deliver("progress.complete_lesson", learner) == {}
    assert told(database) == ["COURSE_STARTED", "LESSON_COMPLETED"]


def test_an_event_wakes_the_relay_and_a_read_does_not(deliver, learner):
    queue_redis().delete(RELAY_HINT)
    deliver("progress.show_progress", {name: learner[name] for name in ("user_id", "course_id")})
    assert queue_redis().llen(RELAY_HINT) == 0
    deliver("progress.complete_lesson", learner)
    assert queue_redis().llen(RELAY_HINT) == 1


def note_and_poke(session: Session, poke: Any, *, fails: bool) -> int:
    write(session, "poked")
    poke("users.show_profile")
    if fails:
        raise ValueError
    return queue_redis().llen("users")


def test_a_poke_waits_for_the_commit(deliver, notes: Notes):
    assert deliver("progress.note_and_poke", {"fails": False})["result"] == 0
    assert queue_redis().llen("users") == 1


def test_a_task_that_failed_pokes_nobody(deliver, notes: Notes):
    deliver("progress.note_and_poke", {"fails": True})
    assert queue_redis().llen("users") == 0


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_touch_its_own_tables_and_the_bus_only(database, service):
    allowed = database.rows(
        """SELECT DISTINCT schemaname FROM pg_tables, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS deed
           WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
           AND has_table_privilege(:role, format('%I.%I', schemaname, tablename), deed)""",
        role=f"coursebus_{service}",
    )
    assert {schema for (schema,) in allowed} == {service, "bus"}


def test_payments_cannot_read_users(database):
    with sessions("payments").begin() as session, pytest.raises(ProgrammingError, match="permission denied"):
        session.execute(text("SELECT * FROM users.users"))


def test_the_bridge_sees_the_bus_only(database):
    allowed = database.rows(
        """SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
           AND has_table_privilege('coursebus_bridge', format('%I.%I', schemaname, tablename), 'SELECT')"""
    )
    assert allowed == [("bus",)]


def test_a_connection_that_died_while_nobody_used_it_costs_no_task(database, monkeypatch):
    monkeypatch.setattr(base, "PING_AFTER_SECONDS", 0)
    ours = text("SELECT pg_backend_pid()")
    with sessions("courses").begin() as session:
        pid = session.scalar(ours)
    database.execute("SELECT pg_terminate_backend(:pid)", pid=pid)

    with sessions("courses").begin() as session:
        assert session.scalar(ours) != pid


def test_events_of_a_command_keep_its_actor(database, learner):
    message = {name: str(value) for name, value in learner.items()}
    carry_out("progress.complete_lesson", message, Envelope(actor="user:1"), task_id="t-1")

    headers = database.value("SELECT headers FROM bus.outbox WHERE type = 'LESSON_COMPLETED'")
    assert headers["actor"] == "user:1"
    assert database.rows("SELECT actor, task FROM bus.staff_actions") == [("user:1", "progress.complete_lesson")]


def test_command_without_an_actor_is_not_recorded(database, deliver, learner):
    deliver("progress.complete_lesson", learner)

    assert database.count("bus.staff_actions") == 0
