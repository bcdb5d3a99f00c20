"""A stored read costs no queue, a missing one costs one ask, and a cache that is away costs speed only."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api import create_app, reads
from api.courses import catalogue
from models import cache
from models.cache import Stored, course_key
from models.errors import NotFound, Unavailable
from tests.api.test_problems import problem

CLIENTS = 200


class Worker:
    """Stands for the courses worker: counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.title = "Chess"
        self.raises: Exception | None = None
        self.takes_seconds = 0.0

    def __call__(self, _task: str, **_message: object) -> dict:
        self.asked += 1
        time.sleep(self.takes_seconds)
        if self.raises:
            raise self.raises
        course = {"id": str(uuid4()), "title": self.title, "version": 3}
        return {**course, "items": [{"title": self.title}], "next": None}


@pytest.fixture
def worker(monkeypatch) -> Worker:
    worker = Worker()
    monkeypatch.setattr(reads, "ask", worker)
    monkeypatch.setattr(catalogue, "ask", worker)
    return worker


@pytest.fixture
def client():
    return create_app().test_client()


@pytest.fixture
def slug() -> str:
    return f"course-{uuid4().hex}"


@pytest.fixture
def category() -> str:
    """A filter that nobody else asks for: a page of the test's own."""
    return uuid4().hex


@pytest.fixture
def cache_is_away(monkeypatch):
    away = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(cache, "cache_redis", lambda: away)
    monkeypatch.setattr(cache._PUT_UNLESS_NEWER, "registered_client", away)  # noqa: SLF001 it keeps its client


def at_once(path: str) -> list:
    app, start = create_app(), Barrier(20)

    def get(_: int):
        start.wait()
        return app.test_client().get(path)

    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(get, range(CLIENTS)))


# A course.


def test_a_course_is_asked_for_once(client, worker: Worker, slug: str):
    first, second = client.get(f"/v1/courses/{slug}"), client.get(f"/v1/courses/{slug}")

    assert (second.data, second.headers["ETag"]) == (first.data, '"3"')
    assert client.get(f"/v1/courses/{slug}", headers={"If-None-Match": '"3"'}).status_code == 304
    assert worker.asked == 1


def test_two_hundred_clients_on_a_cold_course_cause_one_ask(worker: Worker, slug: str):
    worker.takes_seconds = 0.1
    responses = at_once(f"/v1/courses/{slug}")

    assert {response.status_code for response in responses} == {200}
    assert worker.asked == 1


def test_a_change_outdates_what_is_stored_and_a_slow_reader_cannot_put_it_back(client, worker: Worker, slug: str):
    client.get(f"/v1/courses/{slug}")
    cache.put(course_key(slug), Stored(4, b""))
    cache.put(course_key(slug), Stored(3, b'{"title": "Old"}'))
    client.get(f"/v1/courses/{slug}")

    assert worker.asked == 2


def test_that_there_is_no_such_course_is_stored_for_a_moment(client, worker: Worker, slug: str):
    worker.raises = NotFound("course", slug)
    first, second = client.get(f"/v1/courses/{slug}"), client.get(f"/v1/courses/{slug}")

    assert problem(first) == problem(second) == (404, "not_found")
    assert first.json["detail"] == second.json["detail"]
    assert worker.asked == 1
    assert 0 < cache.cache_redis().ttl(course_key(slug)) <= 10


def test_a_course_that_is_published_is_seen_at_once_by_those_who_missed_it(client, worker: Worker, slug: str):
    worker.raises = NotFound("course", slug)
    client.get(f"/v1/courses/{slug}")
    worker.raises = None
    cache.put(course_key(slug), Stored(1, b""))

    assert client.get(f"/v1/courses/{slug}").status_code == 200


def test_what_may_heal_is_not_stored(client, worker: Worker, slug: str):
    worker.raises = Unavailable("The queue")
    assert client.get(f"/v1/courses/{slug}").status_code == 503
    worker.raises = None

    assert client.get(f"/v1/courses/{slug}").status_code == 200


def test_whoever_asks_and_dies_holds_the_others_up_for_a_moment_only(client, worker: Worker, slug: str, monkeypatch):
    monkeypatch.setattr(reads, "_WAIT_SECONDS", 0.1)
    cache.begin_flight(course_key(slug))

    assert client.get(f"/v1/courses/{slug}").status_code == 200


# The catalogue.


def test_a_page_of_the_catalogue_is_asked_for_once(client, worker: Worker, category: str):
    path = f"/v1/courses?category={category}"
    first, second = client.get(path), client.get(path)

    assert (second.data, second.headers["ETag"]) == (first.data, first.headers["ETag"])
    assert client.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert worker.asked == 1


def test_a_page_that_leads_on_does_so_from_the_cache_too(client, worker: Worker, category: str, monkeypatch):
    monkeypatch.setattr(catalogue, "ask", lambda *_, **__: {"items": [], "next": ["x", str(uuid4()), False]})
    first, second = (client.get(f"/v1/courses?category={category}") for _ in range(2))

    assert 'rel="next"' in first.headers["Link"]
    assert second.headers["Link"] == first.headers["Link"]


def test_a_change_of_what_is_on_sale_outdates_every_page(client, worker: Worker, category: str):
    path = f"/v1/courses?category={category}"
    before = client.get(path)
    worker.title = "Go"
    cache.put(cache.CATALOGUE, cache.catalogue_changed())
    after = client.get(path)

    assert (after.json["items"][0]["title"], worker.asked) == ("Go", 2)
    assert after.headers["ETag"] != before.headers["ETag"]


def test_a_page_made_while_the_catalogue_changes_is_not_served_again(
    client, worker: Worker, category: str, monkeypatch
):
    def ask(*_: object, **__: object) -> dict:
        cache.put(cache.CATALOGUE, cache.catalogue_changed())
        return worker("")

    monkeypatch.setattr(catalogue, "ask", ask)
    for _ in range(2):
        client.get(f"/v1/courses?category={category}")

    assert worker.asked == 2


def test_two_hundred_clients_on_a_cold_page_cause_one_ask(worker: Worker, category: str):
    worker.takes_seconds = 0.1
    responses = at_once(f"/v1/courses?category={category}")

    assert len({response.data for response in responses}) == 1
    assert worker.asked == 1


def test_a_query_that_does_not_fit_is_refused_each_time(client, worker: Worker, category: str):
    for _ in range(2):
        assert problem(client.get(f"/v1/courses?category={category}&limit=0")) == (422, "validation_failed")
        assert problem(client.get(f"/v1/courses?category={category}&cursor=x")) == (400, "cursor_invalid")
    assert worker.asked == 0


def test_without_the_cache_every_read_is_asked_for_and_answered(client, worker: Worker, slug: str, cache_is_away):
    for _ in range(2):
        assert client.get(f"/v1/courses/{slug}").headers["ETag"] == '"3"'
        assert client.get(f"/v1/courses?category={slug}").status_code == 200
    assert worker.asked == 4
