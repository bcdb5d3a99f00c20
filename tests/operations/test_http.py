"""``Prefer: respond-async``, as a client sees it."""

import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest

import celery_app
from api import bulkheads, queue
from models.redis import queue_redis
from tests.courses.factories import fields
from tests.gateway import Person, gateway, running_worker, trust_test_tokens
from tests.support.databases import Database
from tests.support.waiting import eventually


@pytest.fixture
def database(database: Database) -> Iterator[Database]:
    with running_worker("users", "courses"):
        yield database


@pytest.fixture
def ann(monkeypatch, database: Database) -> Person:
    trust_test_tokens(monkeypatch)
    return Person(gateway().test_client(), permissions=("courses:write",))


def start(person: Person, **headers: str):
    return person.send("POST", "/v1/courses", fields(), Prefer="respond-async, wait=10", **headers)


def ended(person: Person, path: str) -> dict:
    return eventually(lambda: (shown := person.get(path).json)["finished_at"] and shown, "the end")


def test_a_command_is_accepted_and_its_answer_fetched_later(ann: Person):
    response = start(ann)

    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "respond-async"
    assert response.headers["Location"] == f"/v1/operations/{response.json['id']}"
    shown = ended(ann, response.headers["Location"])
    assert (shown["kind"], shown["status"], shown["error"]) == ("courses.create_course", "succeeded", None)
    assert ann.get(f"/v1/courses/{shown['result']['id']}").status_code == 200


def test_a_failure_is_a_problem_within_the_operation(ann: Person):
    response = ann.send("POST", f"/v1/courses/{uuid4()}/enrollments", {}, Prefer="respond-async")

    shown = ended(ann, response.headers["Location"])

    assert (shown["status"], shown["result"]) == ("failed", None)
    assert (shown["error"]["status"], shown["error"]["code"]) == (404, "not_found")


def test_a_repeat_with_the_same_key_names_the_same_operation(ann: Person, database: Database):
    course = fields()
    first, second = (
        ann.send("POST", "/v1/courses", course, Prefer="respond-async", Idempotency_Key="k-1") for _ in range(2)
    )

    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Idempotent-Replayed"] == "true"
    ended(ann, first.headers["Location"])
    assert database.count("courses.courses") == 1


def test_the_same_key_with_another_body_is_a_422(ann: Person):
    start(ann, Idempotency_Key="k-1")

    response = start(ann, Idempotency_Key="k-1")

    assert (response.status_code, response.json["code"]) == (422, "idempotency_key_reused")


def test_another_person_finds_no_such_operation(ann: Person):
    path = start(ann).headers["Location"]
    bob = Person(ann.client)

    assert bob.get(path).status_code == 404
    assert bob.send("POST", f"{path}/cancel").status_code == 404


def test_a_finished_operation_is_not_canceled(ann: Person):
    path = start(ann).headers["Location"]
    ended(ann, path)

    response = ann.send("POST", f"{path}/cancel")

    assert (response.status_code, response.json["code"]) == (409, "operation_begun")


@pytest.mark.parametrize("name", ["courses", "nobody-0190163d-8694-739b-aea5-966c26f8ad91", "courses-1", "%20"])
def test_what_is_no_operation_is_a_404(ann: Person, name: str):
    assert ann.get(f"/v1/operations/{name}").status_code == 404


def test_a_read_is_answered_whatever_is_preferred(ann: Person):
    assert ann.get("/v1/courses", Prefer="respond-async").status_code == 200


def test_a_full_queue_is_a_503_that_says_when_to_come_back(ann: Person, monkeypatch):
    monkeypatch.setattr(celery_app.settings, "QUEUE_LIMIT", 1)
    monkeypatch.setattr("celery_app.send.__kwdefaults__", {"task_id": None, "limit": 1})
    ann.get("/v1/me")  # known by now
    with queue_redis().pipeline() as pipeline:
        pipeline.delete("courses")
        pipeline.execute()
    monkeypatch.setattr(celery_app, "queue_of", lambda name, *_: {"queue": f"nobody:{name.partition('.')[0]}"})
    try:
        celery_app.send("courses.x", {}, celery_app.Envelope(sent_at=celery_app.time.time() - 12.5))

        response = ann.get("/v1/me/enrollments")
    finally:
        queue_redis().delete("nobody:courses")

    assert (response.status_code, response.json["code"], response.headers["Retry-After"]) == (503, "queue_full", "13")


def test_a_slow_service_is_refused_to_more_than_may_wait_and_the_others_answer(ann: Person, monkeypatch):
    monkeypatch.setattr(queue, "bulkheads", bulkheads.Bulkheads(1))
    ann.get("/v1/me")
    begun, over = threading.Event(), threading.Event()

    def wait_for_courses() -> None:
        with queue.bulkheads.slot("courses"):
            begun.set()
            over.wait(10)

    slow = threading.Thread(target=wait_for_courses)
    slow.start()
    begun.wait(5)
    refused, served = ann.get("/v1/me/enrollments"), ann.get("/v1/me")
    over.set()
    slow.join()

    assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (503, "service_slow", "10")
    assert served.status_code == 200
    assert ann.get("/v1/me/enrollments").status_code == 200
