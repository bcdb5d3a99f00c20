"""Announcements to the learners of a course: who gets them, in pages, and a few a day."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

import settings
from core.cache import cache_redis
from core.db import session_factory
from models.courses.course import Course
from tests.integration.courses.factories import make_course
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens
from workers.courses import announcements
from workers.courses.access import revoke_access
from workers.courses.learning import enroll_user_as_admin

TEXT = {"subject": "Live session", "body": "We meet on Friday.\nThe link is in the first lesson."}


@pytest.fixture
def author(database: Database, monkeypatch) -> Iterator[Person]:
    trust_test_tokens(monkeypatch)
    monkeypatch.setattr(settings, "AUTH0_SYNC_ENABLED", False)
    cache_redis().flushdb()
    with running_worker("courses", "users"):
        yield Person(gateway().test_client(), email=f"{uuid4().hex}@example.com", permissions=("courses:write",))


@pytest.fixture
def course(author: Person) -> Course:
    with session_factory("courses").begin() as session:
        course = make_course(session)
        course.instructor_id = UUID(author.get("/v1/me").json["id"])
        return course


def enroll(course: Course, learners: int) -> list[UUID]:
    user_ids = sorted(uuid4() for _ in range(learners))
    with session_factory("courses").begin() as session:
        for user_id in user_ids:
            enroll_user_as_admin(session, user_id=user_id, course_id=course.id, granted_by=uuid4())
    return user_ids


def announce(author: Person, course: Course, **text: Any) -> Any:
    return author.send("POST", f"/v1/courses/{course.id}/announcements", TEXT | text)


def send_all(database: Database) -> None:
    database.execute("DELETE FROM bus.jobs WHERE kind = 'courses.send_announcements'")
    assert "result" in deliver("courses.send_announcements")


def published(database: Database) -> list[dict[str, Any]]:
    rows = database.rows("SELECT payload FROM bus.outbox WHERE type = 'COURSE_ANNOUNCED' ORDER BY aggregate_version")
    return [payload for (payload,) in rows]


def test_every_learner_with_access_is_in_one_page(author: Person, course: Course, database: Database, monkeypatch):
    monkeypatch.setattr(announcements, "PAGE_SIZE", 2)
    learners = enroll(course, 5)
    with session_factory("courses").begin() as session:
        revoke_access(session, user_id=learners[0], course_id=course.id)

    created = announce(author, course)
    enroll(course, 1)  # too late
    send_all(database)
    send_all(database)

    pages = published(database)
    assert [len(page["user_ids"]) for page in pages] == [2, 2]
    assert [each for page in pages for each in page["user_ids"]] == [str(each) for each in learners[1:]]
    assert {(page["subject"], page["body"], page["course_title"]) for page in pages} == {
        (TEXT["subject"], TEXT["body"], course.title)
    }
    assert (created.status_code, created.json["status"], created.json["recipients_total"]) == (201, "sending", 4)
    shown = author.get(created.headers["Location"]).json
    assert (shown["status"], shown["recipients_done"]) == ("sent", 4)
    assert [each["id"] for each in author.get(f"/v1/courses/{course.id}/announcements").json["items"]] == [shown["id"]]


def test_learner_who_has_lost_access_since_gets_nothing(author: Person, course: Course, database: Database):
    learners = enroll(course, 2)
    announce(author, course)
    with session_factory("courses").begin() as session:
        revoke_access(session, user_id=learners[0], course_id=course.id)

    send_all(database)

    assert [page["user_ids"] for page in published(database)] == [[str(learners[1])]]


def test_interrupted_announcement_continues_after_its_last_page(
    author: Person, course: Course, database: Database, monkeypatch
):
    monkeypatch.setattr(announcements, "PAGE_SIZE", 2)
    learners = enroll(course, 3)
    announce(author, course)
    monkeypatch.setattr(announcements, "record", _fail_at_second_call(announcements.record))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(announcements, "_RUN_SECONDS", 20.0)
        first = deliver("courses.send_announcements")
    send_all(database)

    assert "crash" in first
    assert [each for page in published(database) for each in page["user_ids"]] == [str(each) for each in learners]


def _fail_at_second_call(record: Any) -> Any:
    calls: list[int] = []

    def fail_once(*args: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("the worker is killed")
        record(*args)

    return fail_once


def test_course_sends_a_few_announcements_a_day(author: Person, course: Course, database: Database):
    statuses = [announce(author, course).status_code for _ in range(settings.ANNOUNCEMENTS_PER_DAY)]
    refused = announce(author, course)
    database.execute("UPDATE courses.announcements SET created_at = created_at - interval '25 hours'")

    assert set(statuses) == {201}
    assert problem(refused) == (409, "announcement_limit_reached")
    assert announce(author, course).status_code == 201


def test_only_authors_and_staff_announce(author: Person, course: Course):
    other = Person(author.client, email=f"{uuid4().hex}@example.com", permissions=("courses:write",))
    learner = Person(author.client, email=f"{uuid4().hex}@example.com")
    staff = Person(author.client, email=f"{uuid4().hex}@example.com", permissions=("courses:write", "courses:admin"))
    path = f"/v1/courses/{course.id}/announcements"

    assert problem(announce(other, course)) == (404, "not_found")
    assert problem(other.get(path)) == (404, "not_found")
    assert problem(announce(learner, course)) == (403, "insufficient_permission")
    assert announce(staff, course).status_code == 201
    assert problem(author.get(f"{path}/{uuid4()}")) == (404, "not_found")
    for invalid in ({"subject": ""}, {"subject": "a\nb"}, {"body": " \n "}, {"body": "x" * 5001}, {"to": "all"}):
        assert announce(author, course, **invalid).status_code == 422
