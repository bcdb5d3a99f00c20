"""One response from five services: queried concurrently with a timeout, and each of them is optional."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from api import dashboard
from core import cache
from core.cache import CachedView
from core.redis import queue_redis
from tests.support.gateway import Person, problem

COURSE = str(uuid4())
REPLIES: dict[str, Any] = {
    "users": {"name": "Ann"},
    "courses": {"items": [{"course_id": COURSE}, {"course_id": str(uuid4())}], "next": None},
    "progress": {"items": [{"course_id": COURSE, "percent": 50, "next_lesson_id": COURSE}], "next": None},
    "notifications": {"unread": 3},
    "payments": {"items": [{"status": "active"}], "next": None},
}


MALFORMED = [b"not json", b'"\xff"', b"[]", b"{}", b'{"result": null}', b'{"result": [7]}', b'{"error": {"name": 1}}']


@contextmanager
def fake_services(*services: str, **replies: bytes) -> Iterator[None]:
    """Fake these services: each replies once, after all of them have received their message.

    A service in ``replies`` replies with these bytes.
    """
    all_asked = threading.Barrier(len(services), timeout=5)

    def reply_once(service: str) -> None:
        popped = queue_redis().blpop([service], timeout=5)
        all_asked.wait()
        reply_to = msgspec.json.decode(popped[1])["headers"]["envelope"]["reply_to"]
        queue_redis().rpush(reply_to, replies.get(service) or msgspec.json.encode({"result": REPLIES[service]}))

    threads = [threading.Thread(target=reply_once, args=[service]) for service in services]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


@pytest.fixture(autouse=True)
def _short_timeout(monkeypatch) -> None:
    queue_redis().delete(*REPLIES)
    monkeypatch.setattr(dashboard, "_TIMEOUT_SECONDS", 1)


@pytest.fixture
def ann(ann: Person) -> Person:
    cache.put(cache.identity_key(ann.sub), CachedView(1, str(uuid4()).encode()))
    return ann


def test_services_are_queried_concurrently(ann: Person, monkeypatch):
    monkeypatch.setattr(dashboard, "_TIMEOUT_SECONDS", 5)
    with fake_services(*REPLIES):
        body = ann.get("/v1/me/dashboard").json

    assert (body["profile"]["name"], body["unread_count"], body["partial"]) == ("Ann", 3, [])
    [first, second] = body["enrollments"]
    assert (first["progress"]["percent"], first["progress"]["next_lesson_id"]) == (50, COURSE)
    assert second["progress"] is None
    assert body["subscriptions"] == [{"status": "active"}]


@pytest.mark.parametrize(
    ("missing", "named", "null"),
    [
        ("users", "profile", "profile"),
        ("courses", "enrollments", "enrollments"),
        ("notifications", "unread_count", "unread_count"),
        ("payments", "subscriptions", "subscriptions"),
    ],
)
def test_part_that_times_out_is_null_and_listed_as_partial(ann: Person, missing, named, null):
    with fake_services(*set(REPLIES) - {missing}):
        body = ann.get("/v1/me/dashboard").json

    assert body["partial"] == [named]
    assert [part for part, value in body.items() if value is None] == [null]


@pytest.mark.parametrize("reply", MALFORMED, ids=range(len(MALFORMED)))
@pytest.mark.parametrize(
    ("service", "part"),
    [
        ("users", "profile"),
        ("courses", "enrollments"),
        ("notifications", "unread_count"),
        ("payments", "subscriptions"),
    ],
)
def test_part_with_malformed_reply_is_null_and_listed_as_partial(ann: Person, service: str, part: str, reply: bytes):
    with fake_services(*REPLIES, **{service: reply}):
        response = ann.get("/v1/me/dashboard")

    assert (response.status_code, response.json["partial"]) == (200, [part])
    assert [name for name, value in response.json.items() if value is None] == [part]


def test_courses_are_returned_when_only_progress_times_out(ann: Person):
    with fake_services("users", "courses", "notifications", "payments"):
        body = ann.get("/v1/me/dashboard").json

    assert body["partial"] == ["progress"]
    assert [course["progress"] for course in body["enrollments"]] == [None, None]


def test_dashboard_returns_504_when_no_service_replies(ann: Person):
    assert problem(ann.get("/v1/me/dashboard")) == (504, "outcome_unknown")
