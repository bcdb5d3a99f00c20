"""A stored read costs no queue, a missing one costs one ask, and a cache that is away costs speed only."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api import auth, progress, reads
from api.courses import catalogue
from api.notifications import feed
from models import cache
from models.cache import Stored, course_key
from models.errors import NoProgress, NotFound, Unavailable
from tests.api.test_problems import problem
from tests.gateway import Person, gateway

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
    return gateway().test_client()


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
    app, start = gateway(), Barrier(20)

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


def test_what_the_client_has_already_is_not_read_again(client, worker: Worker, slug: str, monkeypatch):
    etag = client.get(f"/v1/courses/{slug}").headers["ETag"]
    with monkeypatch.context() as no_bodies:
        no_bodies.setattr(cache, "get", lambda _: pytest.fail("the body was read"))
        response = client.get(f"/v1/courses/{slug}", headers={"If-None-Match": etag})
    assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", etag)

    cache.put(cache.course_key(slug), Stored(4, b""))  # changed, and not yet asked for
    assert client.get(f"/v1/courses/{slug}", headers={"If-None-Match": '"4"'}).status_code == 200


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
    cache.put(cache.CATALOGUE, cache.changed())
    after = client.get(path)

    assert (after.json["items"][0]["title"], worker.asked) == ("Go", 2)
    assert after.headers["ETag"] != before.headers["ETag"]


def test_a_page_made_while_the_catalogue_changes_is_not_served_again(
    client, worker: Worker, category: str, monkeypatch
):
    def ask(*_: object, **__: object) -> dict:
        cache.put(cache.CATALOGUE, cache.changed())
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


def grow_old(monkeypatch) -> None:
    """Let more than a page's fresh minute go by, for whoever looks at the clock."""
    clock = time.time
    monkeypatch.setattr(cache.time, "time", lambda: clock() + 61)


def test_an_old_page_is_asked_for_by_one_and_shown_to_the_others_meanwhile(
    client, worker: Worker, category: str, monkeypatch
):
    client.get(f"/v1/courses?category={category}")
    grow_old(monkeypatch)
    worker.title, worker.takes_seconds = "Go", 0.3
    titles = [response.json["items"][0]["title"] for response in at_once(f"/v1/courses?category={category}")]

    assert worker.asked == 2
    assert {"Chess", "Go"} == set(titles)


def test_an_old_page_is_better_than_a_service_that_is_away(client, worker: Worker, category: str, monkeypatch):
    client.get(f"/v1/courses?category={category}")
    grow_old(monkeypatch)
    worker.raises = Unavailable("The courses service")

    assert client.get(f"/v1/courses?category={category}").status_code == 200


def test_an_old_page_is_never_shown_once_something_has_changed(client, worker: Worker, category: str):
    client.get(f"/v1/courses?category={category}")
    cache.put(cache.CATALOGUE, cache.changed())
    worker.raises = Unavailable("The courses service")

    assert client.get(f"/v1/courses?category={category}").status_code == 503


def test_the_popular_courses_are_those_that_a_job_has_laid_ready_until_something_changes(client, worker: Worker):
    cache.put(cache.CATALOGUE, cache.changed())
    version, _ = cache.get_page(cache.CATALOGUE, cache.POPULAR)
    cache.put_page(cache.POPULAR, version, b'{"items":[{"title":"Loved"}],"next":null}')
    assert client.get("/v1/courses?sort=popular").json["items"] == [{"title": "Loved"}]
    assert worker.asked == 0

    cache.put(cache.CATALOGUE, cache.changed())
    assert client.get("/v1/courses?sort=popular").json["items"] == [{"title": "Chess"}]
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


# A person's own pages.


@pytest.fixture
def own_pages(monkeypatch, worker: Worker) -> Worker:
    monkeypatch.setattr(progress, "ask", worker)
    monkeypatch.setattr(feed, "ask", worker)
    return worker


@pytest.mark.parametrize(
    ("path", "version_key"),
    [
        ("/v1/me/progress", cache.progress_of),
        ("/v1/courses/{course_id}/progress", cache.progress_of),
        ("/v1/me/certificates", cache.progress_of),
        ("/v1/me/notifications/unread-count", cache.notes_of),
    ],
)
def test_what_is_stored_for_a_person_holds_until_a_commit_outdates_it(
    ann: Person, own_pages: Worker, path, version_key
):
    path, user_id = path.format(course_id=uuid4()), known(ann)
    first, second = ann.get(path), ann.get(path)
    assert (second.data, own_pages.asked) == (first.data, 1)
    assert ann.get(path, If_None_Match=first.headers["ETag"]).status_code == 304

    cache.put(version_key(user_id), cache.changed())
    assert (ann.get(path).status_code, own_pages.asked) == (200, 2)


def test_nobody_is_shown_what_is_stored_for_another(ann: Person, own_pages: Worker):
    bob = Person(ann.client)
    known(ann), known(bob)
    ann.get("/v1/me/progress")
    own_pages.title = "Bob's"
    bob.get("/v1/me/progress")

    assert own_pages.asked == 2


def test_that_somebody_is_not_enrolled_is_stored_until_they_are(ann: Person, own_pages: Worker):
    path, user_id = f"/v1/courses/{uuid4()}/progress", known(ann)
    own_pages.raises = NoProgress("x")
    for _ in range(2):
        assert problem(ann.get(path)) == (404, "not_enrolled")
    assert own_pages.asked == 1

    own_pages.raises = None
    cache.put(cache.progress_of(user_id), cache.changed())
    assert ann.get(path).status_code == 200


def test_without_the_cache_a_person_is_answered_by_the_worker(
    ann: Person, own_pages: Worker, cache_is_away, monkeypatch
):
    monkeypatch.setattr(auth, "look_up", lambda *_, **__: {"account": str(uuid4())})
    for _ in range(2):
        assert ann.get("/v1/me/notifications/unread-count").status_code == 200
    assert own_pages.asked == 2


def known(person: Person) -> str:
    """Have an id for somebody, as the users service would have stored it."""
    user_id = str(uuid4())
    cache.put(cache.identity_key(person.sub), Stored(1, user_id.encode()))
    return user_id
