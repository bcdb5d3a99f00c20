"""Cached reads use no queue, a cache miss calls the worker once, and if the cache is down, reads go to the worker."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api import auth, learner_access, read_cache
from api.courses import catalogue
from api.notifications import inbox
from api.progress import certificates, learning
from core import cache
from core.cache import CachedView, course_key
from core.commands import Command
from models.errors import NotFound, ProgressNotFound, Unavailable
from tests.support.gateway import Person, gateway, problem

CLIENTS = 200


class Worker:
    """A fake worker that counts its calls."""

    def __init__(self) -> None:
        self.call_count = 0
        self.title = "Chess"
        self.raises: Exception | None = None
        self.takes_seconds = 0.0

    def __call__(self, _command: Command) -> dict:
        self.call_count += 1
        time.sleep(self.takes_seconds)
        if self.raises:
            raise self.raises
        course = {"id": str(uuid4()), "title": self.title, "version": 3}
        return {**course, "items": [{"title": self.title}], "next": None}


@pytest.fixture
def worker(monkeypatch) -> Worker:
    worker = Worker()
    monkeypatch.setattr(read_cache, "call", worker)
    monkeypatch.setattr(catalogue, "call", worker)
    return worker


@pytest.fixture
def client():
    return gateway().test_client()


@pytest.fixture
def slug() -> str:
    return f"course-{uuid4().hex}"


@pytest.fixture
def category() -> str:
    """Return a unique category, so that the page is not shared with other tests."""
    return uuid4().hex


@pytest.fixture
def cache_unavailable(monkeypatch):
    unreachable = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(cache, "cache_redis", lambda: unreachable)
    monkeypatch.setattr(cache._PUT_UNLESS_NEWER, "registered_client", unreachable)  # noqa: SLF001 it holds its own client


def get_concurrently(path: str) -> list:
    app, start = gateway(), Barrier(20)

    def get(_: int):
        start.wait()
        return app.test_client().get(path)

    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(get, range(CLIENTS)))


# Courses.


def test_course_is_fetched_once_then_cached(client, worker: Worker, slug: str):
    first, second = client.get(f"/v1/courses/{slug}"), client.get(f"/v1/courses/{slug}")

    assert (second.data, second.headers["ETag"]) == (first.data, '"3"')
    assert client.get(f"/v1/courses/{slug}", headers={"If-None-Match": '"3"'}).status_code == 304
    assert worker.call_count == 1


def test_concurrent_cache_misses_fetch_once(worker: Worker, slug: str):
    worker.takes_seconds = 0.1
    responses = get_concurrently(f"/v1/courses/{slug}")

    assert {response.status_code for response in responses} == {200}
    assert worker.call_count == 1


def test_invalidation_is_not_undone_by_stale_write(client, worker: Worker, slug: str):
    client.get(f"/v1/courses/{slug}")
    cache.put(course_key(slug), CachedView(4, b""))
    cache.put(course_key(slug), CachedView(3, b'{"title": "Old"}'))
    client.get(f"/v1/courses/{slug}")

    assert worker.call_count == 2


def test_matching_etag_returns_304_without_reading_body(client, worker: Worker, slug: str, monkeypatch):
    etag = client.get(f"/v1/courses/{slug}").headers["ETag"]
    with monkeypatch.context() as no_bodies:
        no_bodies.setattr(cache, "get", lambda _: pytest.fail("the body was fetched"))
        response = client.get(f"/v1/courses/{slug}", headers={"If-None-Match": etag})
    assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", etag)

    cache.put(cache.course_key(slug), CachedView(4, b""))  # invalidated and not fetched again yet
    assert client.get(f"/v1/courses/{slug}", headers={"If-None-Match": '"4"'}).status_code == 200


def test_not_found_is_cached_briefly(client, worker: Worker, slug: str):
    worker.raises = NotFound("course", slug)
    first, second = client.get(f"/v1/courses/{slug}"), client.get(f"/v1/courses/{slug}")

    assert problem(first) == problem(second) == (404, "not_found")
    assert first.json["detail"] == second.json["detail"]
    assert worker.call_count == 1
    assert 0 < cache.cache_redis().ttl(course_key(slug)) <= 10


def test_publishing_invalidates_cached_not_found(client, worker: Worker, slug: str):
    worker.raises = NotFound("course", slug)
    client.get(f"/v1/courses/{slug}")
    worker.raises = None
    cache.put(course_key(slug), CachedView(1, b""))

    assert client.get(f"/v1/courses/{slug}").status_code == 200


def test_transient_errors_are_not_cached(client, worker: Worker, slug: str):
    worker.raises = Unavailable("The queue")
    assert client.get(f"/v1/courses/{slug}").status_code == 503
    worker.raises = None

    assert client.get(f"/v1/courses/{slug}").status_code == 200


def test_crashed_fetcher_releases_waiters(client, worker: Worker, slug: str, monkeypatch):
    monkeypatch.setattr(read_cache, "_WAIT_SECONDS", 0.1)
    cache.acquire_fetch_lock(course_key(slug))

    assert client.get(f"/v1/courses/{slug}").status_code == 200


# Catalogue pages.


def test_catalogue_page_is_fetched_once_then_cached(client, worker: Worker, category: str):
    path = f"/v1/courses?category={category}"
    first, second = client.get(path), client.get(path)

    assert (second.data, second.headers["ETag"]) == (first.data, first.headers["ETag"])
    assert client.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert worker.call_count == 1


def test_cached_page_keeps_next_link(client, worker: Worker, category: str, monkeypatch):
    monkeypatch.setattr(catalogue, "call", lambda *_, **__: {"items": [], "next": ["x", str(uuid4()), False]})
    first, second = (client.get(f"/v1/courses?category={category}") for _ in range(2))

    assert 'rel="next"' in first.headers["Link"]
    assert second.headers["Link"] == first.headers["Link"]


def test_catalogue_change_invalidates_every_page(client, worker: Worker, category: str):
    path = f"/v1/courses?category={category}"
    before = client.get(path)
    worker.title = "Go"
    cache.put(cache.CATALOGUE_VERSION_KEY, cache.invalidation_marker())
    after = client.get(path)

    assert (after.json["items"][0]["title"], worker.call_count) == ("Go", 2)
    assert after.headers["ETag"] != before.headers["ETag"]


def test_page_fetched_during_change_is_not_cached(client, worker: Worker, category: str, monkeypatch):
    def change_and_fetch(*commands: Command) -> dict:
        cache.put(cache.CATALOGUE_VERSION_KEY, cache.invalidation_marker())
        return worker(*commands)

    monkeypatch.setattr(catalogue, "call", change_and_fetch)
    for _ in range(2):
        client.get(f"/v1/courses?category={category}")

    assert worker.call_count == 2


def test_concurrent_page_misses_fetch_once(worker: Worker, category: str):
    worker.takes_seconds = 0.1
    responses = get_concurrently(f"/v1/courses?category={category}")

    assert len({response.data for response in responses}) == 1
    assert worker.call_count == 1


def make_pages_stale(monkeypatch) -> None:
    """Advance the clock of the cache by more than the minute for which a page is fresh."""
    clock = time.time
    monkeypatch.setattr(cache.time, "time", lambda: clock() + 61)


def test_stale_page_is_served_while_one_client_refreshes(client, worker: Worker, category: str, monkeypatch):
    client.get(f"/v1/courses?category={category}")
    make_pages_stale(monkeypatch)
    worker.title, worker.takes_seconds = "Go", 0.3
    titles = [response.json["items"][0]["title"] for response in get_concurrently(f"/v1/courses?category={category}")]

    assert worker.call_count == 2
    assert {"Chess", "Go"} == set(titles)


def test_stale_page_is_served_when_service_is_unavailable(client, worker: Worker, category: str, monkeypatch):
    client.get(f"/v1/courses?category={category}")
    make_pages_stale(monkeypatch)
    worker.raises = Unavailable("The courses service")

    assert client.get(f"/v1/courses?category={category}").status_code == 200


def test_invalidated_page_is_never_served(client, worker: Worker, category: str):
    client.get(f"/v1/courses?category={category}")
    cache.put(cache.CATALOGUE_VERSION_KEY, cache.invalidation_marker())
    worker.raises = Unavailable("The courses service")

    assert client.get(f"/v1/courses?category={category}").status_code == 503


def test_popular_courses_use_prewarmed_page_until_invalidated(client, worker: Worker):
    cache.put(cache.CATALOGUE_VERSION_KEY, cache.invalidation_marker())
    version, _ = cache.get_page(cache.CATALOGUE_VERSION_KEY, cache.POPULAR)
    cache.put_page(cache.POPULAR, version, b'{"items":[{"title":"Loved"}],"next":null}')
    assert client.get("/v1/courses?sort=popular").json["items"] == [{"title": "Loved"}]
    assert worker.call_count == 0

    cache.put(cache.CATALOGUE_VERSION_KEY, cache.invalidation_marker())
    assert client.get("/v1/courses?sort=popular").json["items"] == [{"title": "Chess"}]
    assert worker.call_count == 1


def test_invalid_query_is_rejected_without_a_fetch(client, worker: Worker, category: str):
    for _ in range(2):
        assert problem(client.get(f"/v1/courses?category={category}&limit=0")) == (422, "validation_failed")
        assert problem(client.get(f"/v1/courses?category={category}&cursor=x")) == (400, "cursor_invalid")
    assert worker.call_count == 0


def test_reads_go_to_worker_when_cache_is_down(client, worker: Worker, slug: str, cache_unavailable):
    for _ in range(2):
        assert client.get(f"/v1/courses/{slug}").headers["ETag"] == '"3"'
        assert client.get(f"/v1/courses?category={slug}").status_code == 200
    assert worker.call_count == 4


# Personal pages.


@pytest.fixture
def own_pages(monkeypatch, worker: Worker) -> Worker:
    monkeypatch.setattr(learning, "call", worker)
    monkeypatch.setattr(certificates, "call", worker)
    monkeypatch.setattr(learner_access, "start_if_enrolled", lambda *_: False)  # asks the courses service
    monkeypatch.setattr(inbox, "call", worker)
    return worker


@pytest.mark.parametrize(
    ("path", "version_key"),
    [
        ("/v1/me/progress", cache.progress_version_key),
        ("/v1/courses/{course_id}/progress", cache.progress_version_key),
        ("/v1/me/certificates", cache.progress_version_key),
        ("/v1/me/notifications/unread-count", cache.notifications_version_key),
    ],
)
def test_personal_page_is_cached_until_invalidated(ann: Person, own_pages: Worker, path, version_key):
    path, user_id = path.format(course_id=uuid4()), cache_identity(ann)
    first, second = ann.get(path), ann.get(path)
    assert (second.data, own_pages.call_count) == (first.data, 1)
    assert ann.get(path, If_None_Match=first.headers["ETag"]).status_code == 304

    cache.put(version_key(user_id), cache.invalidation_marker())
    assert (ann.get(path).status_code, own_pages.call_count) == (200, 2)


def test_personal_pages_are_cached_per_user(ann: Person, own_pages: Worker):
    bob = Person(ann.client)
    cache_identity(ann), cache_identity(bob)
    ann.get("/v1/me/progress")
    own_pages.title = "Bob's"
    bob.get("/v1/me/progress")

    assert own_pages.call_count == 2


def test_not_enrolled_is_cached_until_enrollment(ann: Person, own_pages: Worker):
    path, user_id = f"/v1/courses/{uuid4()}/progress", cache_identity(ann)
    own_pages.raises = ProgressNotFound("x")
    for _ in range(2):
        assert problem(ann.get(path)) == (404, "not_enrolled")
    assert own_pages.call_count == 1

    own_pages.raises = None
    cache.put(cache.progress_version_key(user_id), cache.invalidation_marker())
    assert ann.get(path).status_code == 200


def test_personal_reads_go_to_worker_when_cache_is_down(ann: Person, own_pages: Worker, cache_unavailable, monkeypatch):
    monkeypatch.setattr(auth, "call_without_idempotency_key", lambda *_, **__: {"account": str(uuid4())})
    for _ in range(2):
        assert ann.get("/v1/me/notifications/unread-count").status_code == 200
    assert own_pages.call_count == 2


def cache_identity(person: Person) -> str:
    """Cache a new user id for ``person``, as the users service does; return the id."""
    user_id = str(uuid4())
    cache.put(cache.identity_key(person.sub), CachedView(1, user_id.encode()))
    return user_id


def test_reads_survive_a_closed_connection_and_a_lost_script(slug: str):
    cache.put(course_key(slug), CachedView(1, b"{}"))
    cache.get_own_profile(slug)
    cache.cache_redis().script_flush()
    cache.cache_redis().client_kill_filter(_type="normal", skipme=True)

    assert cache.get(course_key(slug)) == CachedView(1, b"{}")
    assert cache.get_own_profile(slug) is None
