"""A command repeated with the same Idempotency-Key is executed once, over HTTP and with a real worker."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from core import cache
from tests.integration.courses.factories import fields
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    with running_worker("users", "courses"):
        yield


@pytest.fixture
def author(monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    return make_author()


def make_author(**said) -> Person:
    author = Person(gateway().test_client(), permissions=("courses:write",), **said)
    # As if the users service already knew the author.
    cache.put(cache.identity_key(author.sub), cache.CachedView(1, str(uuid4()).encode()))
    return author


def create(author: Person, key: str, **said):
    return author.send("POST", "/v1/courses", fields(**said), Idempotency_Key=key)


def courses_of(author: Person) -> list[str]:
    return [course["title"] for course in author.get("/v1/me/courses/teaching").json["items"]]


def test_repeated_command_replays_response_with_header(author: Person):
    first, again = create(author, "k", title="Chess"), create(author, "k", title="Chess")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json == first.json
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert courses_of(author) == ["Chess"]


def test_first_request_response_is_not_identity_lookup(author: Person):
    author = Person(author.client, permissions=author.permissions)
    # The gateway first calls a task that identifies the caller; the key must not apply to that call.
    assert create(author, "k", title="Chess").json["title"] == "Chess"
    assert create(author, "k", title="Chess").json["title"] == "Chess"


def test_key_reused_with_other_body_returns_422(author: Person):
    create(author, "k", title="Chess")

    assert problem(create(author, "k", title="Go")) == (422, "idempotency_key_reused")
    assert courses_of(author) == ["Chess"]


def test_keys_are_scoped_to_caller_and_route(author: Person):
    other = make_author()
    mine, theirs = create(author, "k", title="Chess"), create(other, "k", title="Go")
    section = author.send("POST", f"/v1/courses/{mine.json['id']}/sections", {"title": "One"}, Idempotency_Key="k")

    assert (mine.json["title"], theirs.json["title"]) == ("Chess", "Go")
    assert section.status_code == 201


def test_key_reused_for_other_resource_returns_422(author: Person):
    chess, go = create(author, "1", title="Chess").json, create(author, "2", title="Go").json
    author.send("POST", f"/v1/courses/{chess['id']}/sections", {"title": "One"}, Idempotency_Key="k")
    response = author.send("POST", f"/v1/courses/{go['id']}/sections", {"title": "One"}, Idempotency_Key="k")

    assert problem(response) == (422, "idempotency_key_reused")


def test_concurrent_duplicates_create_one_course(author: Person):
    start = threading.Barrier(2)

    def send_duplicate(_: int):
        start.wait()
        return create(
            Person(gateway().test_client(), sub=author.sub, permissions=author.permissions), "k", title="Chess"
        )

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(send_duplicate, range(2))

    assert (one.status_code, two.status_code) == (201, 201)
    assert one.json["id"] == two.json["id"]
    assert {one.headers.get("Idempotent-Replayed"), two.headers.get("Idempotent-Replayed")} == {None, "true"}
    assert len(courses_of(author)) == 1


def test_permanent_error_is_replayed_transient_is_not(author: Person):
    course = create(author, "1", title="Empty").json
    publish = f"/v1/courses/{course['id']}/publish"
    refused = author.send("POST", publish, Idempotency_Key="k")
    assert problem(refused) == (409, "course_empty")
    assert problem(author.send("POST", publish, Idempotency_Key="k")) == (409, "course_empty")

    path = f"/v1/courses/{course['id']}"
    section = author.send("POST", f"{path}/sections", {"title": "One"}).json
    lesson = {"title": "One", "section_id": section["id"], "kind": "text", "content": {"body": "Words."}}
    assert author.send("POST", f"{path}/lessons", lesson).status_code == 201
    assert author.send("POST", publish, Idempotency_Key="k").status_code == 200


def test_key_is_free_after_validation_error(author: Person):
    course = create(author, "1", title="Chess").json
    sections = f"/v1/courses/{course['id']}/sections"

    assert author.send("POST", sections, {"titel": "One"}, Idempotency_Key="k").status_code == 422
    assert author.send("POST", sections, {"title": "One"}, Idempotency_Key="k").status_code == 201


def test_unknown_course_returns_404_before_validation(author: Person):
    unknown = f"/v1/courses/{uuid4()}"

    assert problem(author.send("PATCH", unknown, {"no": "field"})) == (404, "not_found")
    assert problem(author.send("POST", f"{unknown}/sections?no=field", {}, Idempotency_Key="")) == (404, "not_found")
    # A request with a valid key and an invalid body also gets the 404 first.
    assert problem(author.send("POST", f"{unknown}/sections", {}, Idempotency_Key="k")) == (404, "not_found")
