"""A command is one transaction: it commits before its deadline or not at all, and replies after the commit."""

import time
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from core import cache, db
from core.db import new_id, session_factory
from core.messaging.task_queue import Envelope
from core.redis import RELAY_HINT, queue_redis
from models.commands import Ping
from models.events import CoursePublished, EnrollmentCreated, PublishedLesson, PublishedSection
from models.progress import CourseProgress
from settings import SERVICES
from tests.support.deliveries import run_task
from tests.support.events import build_event
from tests.support.polling import run_concurrently
from tests.support.tasks import Notes, registered, write_note
from workers.runtime import execution
from workers.runtime.dependencies import CacheAfterCommit, EnqueueAfterCommit


@pytest.fixture
def learner(deliver) -> dict[str, Any]:
    """Create a learner at the first of two lessons; return the fields of progress.complete_lesson."""
    lessons = [build_event(PublishedLesson), build_event(PublishedLesson)]
    course = build_event(CoursePublished, sections=[build_event(PublishedSection, lessons=lessons)], sequential=True)
    enrollment = build_event(EnrollmentCreated, course_id=course.course_id)
    deliver("progress.upsert_outline", {"event": course}, event_id=new_id())
    deliver("progress.start_course", {"event": enrollment}, event_id=new_id())
    return {"user_id": enrollment.user_id, "course_id": course.course_id, "lesson_id": lessons[0].lesson_id}


def event_types(database) -> list[str]:
    return [type_ for (type_,) in database.rows("SELECT type FROM bus.outbox ORDER BY seq")]


def test_result_is_returned_and_events_are_committed(database, deliver, learner):
    reply = deliver("progress.complete_lesson", learner)

    assert reply["result"]["lessons_completed"] == 1
    assert database.count("progress.completed_lessons") == 1
    assert event_types(database) == ["COURSE_STARTED", "LESSON_COMPLETED"]


def test_crash_rolls_back_the_transaction(database, deliver, learner, monkeypatch):
    monkeypatch.setattr(CourseProgress, "to_response", lambda _: 1 / 0)  # the last step of the task
    reply = deliver("progress.complete_lesson", learner)

    assert "ZeroDivisionError" in reply["crash"]
    assert database.count("progress.completed_lessons") == 0
    assert event_types(database) == ["COURSE_STARTED"]


def test_domain_error_is_returned_by_name_and_rolls_back(database, deliver, learner):
    deliver("progress.complete_lesson", learner)
    reply = deliver("progress.complete_lesson", {**learner, "lesson_id": new_id()})

    assert reply["error"]["name"] == "NotFound"
    assert event_types(database) == ["COURSE_STARTED", "LESSON_COMPLETED"]


def test_invalid_message_changes_nothing(database, deliver, learner):
    assert "ValidationError" in deliver("progress.complete_lesson", {**learner, "lesson_id": 7})["crash"]
    assert database.count("progress.completed_lessons") == 0


def test_concurrent_commands_on_aggregate_are_serialized(database, deliver, learner):
    """Versions of one key are contiguous with several writers."""
    replies = run_concurrently(*[lambda: deliver("progress.complete_lesson", learner)] * 4)

    assert [reply["result"]["lessons_completed"] for reply in replies] == [1] * 4
    versions = database.rows("SELECT aggregate_version FROM bus.outbox ORDER BY seq")
    assert versions == [(1,), (2,)]


def note(session: Session, *, note: str, seconds: float = 0) -> str:
    write_note(session, note)
    time.sleep(seconds)
    return note


def sleep_in_the_database(session: Session) -> None:
    write_note(session, "slept")
    session.execute(text("SELECT pg_sleep(20)"))


@pytest.fixture(autouse=True)
def tasks():
    with registered(note, sleep_in_the_database, note_and_enqueue, note_and_cache):
        yield


def test_expired_command_is_not_started(deliver, notes: Notes):
    reply = deliver("progress.note", {"note": "late"}, seconds_left=-1)

    assert reply["error"]["name"] == "OutcomeUnknown"
    assert notes() == []


def test_command_past_its_deadline_is_rolled_back(deliver, notes: Notes):
    reply = deliver("progress.note", {"note": "slow", "seconds": 0.4}, seconds_left=0.3)

    assert reply["error"]["name"] == "OutcomeUnknown"
    assert notes() == []


def test_statement_is_canceled_at_the_deadline(deliver, notes: Notes):
    began = time.monotonic()
    reply = deliver("progress.sleep_in_the_database", seconds_left=0.3)

    assert time.monotonic() - began < 5
    assert reply["error"]["name"] == "OutcomeUnknown"
    assert notes() == []


CACHE_KEY, CACHED = "tests:note", cache.CachedView(1, b"{}")


def note_and_cache(session: Session, cache_after_commit: CacheAfterCommit) -> None:
    write_note(session, "done")
    cache_after_commit(CACHE_KEY, CACHED)


def test_reply_is_sent_after_commit_and_cache_update(deliver, notes: Notes, monkeypatch):
    cache.delete(CACHE_KEY)
    at_reply = []
    reply = execution._send_replies  # noqa: SLF001 observes the moment of the reply
    observed = lambda executions: (at_reply.append((notes(), cache.get(CACHE_KEY))), reply(executions))  # noqa: E731
    monkeypatch.setattr(execution, "_send_replies", observed)
    deliver("progress.note_and_cache")

    assert at_reply == [(["done"], CACHED)]


def test_lost_reply_and_wakeup_do_not_affect_the_commit(database, deliver, learner, monkeypatch):
    unreachable = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(execution, "queue_redis", lambda: unreachable)

    assert deliver("progress.complete_lesson", learner) == {}
    assert event_types(database) == ["COURSE_STARTED", "LESSON_COMPLETED"]


def test_relay_is_woken_by_events_only(deliver, learner):
    queue_redis().delete(RELAY_HINT)
    deliver("progress.show_progress", {name: learner[name] for name in ("user_id", "course_id")})
    assert queue_redis().llen(RELAY_HINT) == 0
    deliver("progress.complete_lesson", learner)
    assert queue_redis().llen(RELAY_HINT) == 1


def note_and_enqueue(session: Session, enqueue_after_commit: EnqueueAfterCommit, *, fails: bool) -> int:
    write_note(session, "poked")
    enqueue_after_commit(Ping(service="users"))
    if fails:
        raise ValueError
    return queue_redis().llen("users")


def test_hint_is_sent_after_commit(deliver, notes: Notes):
    assert deliver("progress.note_and_enqueue", {"fails": False})["result"] == 0
    assert queue_redis().llen("users") == 1


def test_failed_task_sends_no_hint(deliver, notes: Notes):
    deliver("progress.note_and_enqueue", {"fails": True})
    assert queue_redis().llen("users") == 0


@pytest.mark.parametrize("service", SERVICES)
def test_service_can_access_only_its_schema_and_bus(database, service):
    allowed = database.rows(
        """SELECT DISTINCT schemaname FROM pg_tables, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS deed
           WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
           AND has_table_privilege(:role, format('%I.%I', schemaname, tablename), deed)""",
        role=f"coursebus_{service}",
    )
    assert {schema for (schema,) in allowed} == {service, "bus"}


def test_payments_cannot_read_users(database):
    with session_factory("payments").begin() as session, pytest.raises(ProgrammingError, match="permission denied"):
        session.execute(text("SELECT * FROM users.users"))


def test_bridge_can_read_only_the_bus_schema(database):
    allowed = database.rows(
        """SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
           AND has_table_privilege('coursebus_bridge', format('%I.%I', schemaname, tablename), 'SELECT')"""
    )
    assert allowed == [("bus",)]


def test_dead_idle_connection_is_replaced(database, monkeypatch):
    monkeypatch.setattr(db, "PING_AFTER_SECONDS", 0)
    ours = text("SELECT pg_backend_pid()")
    with session_factory("courses").begin() as session:
        pid = session.scalar(ours)
    database.execute("SELECT pg_terminate_backend(:pid)", pid=pid)

    with session_factory("courses").begin() as session:
        assert session.scalar(ours) != pid


def test_events_of_a_command_keep_its_actor(database, learner):
    message = {name: str(value) for name, value in learner.items()}
    run_task("progress.complete_lesson", message, Envelope(actor="user:1"), task_id="t-1")

    headers = database.value("SELECT headers FROM bus.outbox WHERE type = 'LESSON_COMPLETED'")
    assert headers["actor"] == "user:1"
    assert database.rows("SELECT actor, task FROM bus.staff_actions") == [("user:1", "progress.complete_lesson")]


def test_command_without_an_actor_is_not_recorded(database, deliver, learner):
    deliver("progress.complete_lesson", learner)

    assert database.count("bus.staff_actions") == 0
