"""``Prefer: respond-async`` over HTTP."""

import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest

from api import bulkheads, rpc
from settings import SERVICES
from tests.integration.courses.factories import fields
from tests.support.databases import Database
from tests.support.gateway import Person, gateway, running_worker, trust_test_tokens
from tests.support.polling import eventually


@pytest.fixture
def database(database: Database) -> Iterator[Database]:
    with running_worker(*SERVICES):  # lists and the status ask all of them
        yield database


@pytest.fixture
def ann(monkeypatch, database: Database) -> Person:
    trust_test_tokens(monkeypatch)
    return Person(gateway().test_client(), permissions=("courses:write",))


def start(person: Person, **headers: str):
    return person.send("POST", "/v1/courses", fields(), Prefer="respond-async, wait=10", **headers)


def wait_until_finished(person: Person, path: str) -> dict:
    return eventually(lambda: (shown := person.get(path).json)["finished_at"] and shown, "the end")


def test_async_command_is_accepted_and_result_fetched_later(ann: Person):
    response = start(ann)

    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "respond-async"
    assert response.headers["Location"] == f"/v1/operations/{response.json['id']}"
    shown = wait_until_finished(ann, response.headers["Location"])
    assert (shown["kind"], shown["status"], shown["error"]) == ("courses.create_course", "succeeded", None)
    assert ann.get(f"/v1/courses/{shown['result']['id']}").status_code == 200


def test_failed_operation_contains_problem(ann: Person):
    response = ann.send("POST", f"/v1/courses/{uuid4()}/enrollments", {}, Prefer="respond-async")

    shown = wait_until_finished(ann, response.headers["Location"])

    assert (shown["status"], shown["result"]) == ("failed", None)
    assert (shown["error"]["status"], shown["error"]["code"]) == (404, "not_found")


def test_repeated_key_returns_the_same_operation(ann: Person, database: Database):
    course = fields()
    first, second = (
        ann.send("POST", "/v1/courses", course, Prefer="respond-async", Idempotency_Key="k-1") for _ in range(2)
    )

    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Idempotent-Replayed"] == "true"
    wait_until_finished(ann, first.headers["Location"])
    assert database.count("courses.courses") == 1


def test_key_reused_with_other_body_returns_422(ann: Person):
    start(ann, Idempotency_Key="k-1")

    response = start(ann, Idempotency_Key="k-1")

    assert (response.status_code, response.json["code"]) == (422, "idempotency_key_reused")


def test_operation_of_another_user_returns_404(ann: Person):
    path = start(ann).headers["Location"]
    bob = Person(ann.client)

    assert bob.get(path).status_code == 404
    assert bob.send("POST", f"{path}/cancel").status_code == 404


def test_operations_are_listed_for_their_owner_and_for_operators(ann: Person):
    path = start(ann).headers["Location"]
    finished = wait_until_finished(ann, path)
    bob = Person(ann.client)
    operator = Person(ann.client, permissions=("ops:admin",))

    assert ann.get("/v1/operations").json["items"] == [finished]
    assert ann.get("/v1/operations?status=failed").json["items"] == bob.get("/v1/operations").json["items"] == []
    assert bob.get("/v1/operations?everyone=true").status_code == 403
    assert operator.get("/v1/operations?everyone=true").json["items"] == [finished | {"result": None}]


def test_failed_job_is_listed_and_run_again(ann: Person, database: Database):
    operator = Person(ann.client, permissions=("ops:admin",))
    slot = "2026-01-31T00:00:00Z"
    database.execute(
        """INSERT INTO bus.jobs (kind, slot, attempts, claims, run_after, last_error)
           VALUES ('payments.expire_orders', :slot, 5, 5, :slot, 'no connection')""",
        slot=slot,
    )

    [job] = operator.get("/v1/jobs").json["jobs"]
    assert (job["kind"], job["failed_slots"], job["last_error"]) == ("payments.expire_orders", [slot], "no connection")
    of_payments = {each["service"]: each for each in operator.get("/v1/status").json["services"]}["payments"]
    assert (of_payments["responds"], of_payments["failed_jobs"]) == (True, ["payments.expire_orders"])
    assert (of_payments["queued_messages"], of_payments["dead_letters"], of_payments["unpublished_events"]) == (0, 0, 0)

    path = "/v1/jobs/payments.expire_orders/run-again"
    assert [operator.send("POST", path, {"slot": slot}).status_code for _ in range(2)] == [204, 404]
    assert operator.get("/v1/jobs").json["jobs"][0]["failed_slots"] == []
    assert operator.send("POST", "/v1/jobs/unknown.job/run-again", {"slot": slot}).status_code == 404


def test_cancel_of_finished_operation_returns_409(ann: Person):
    path = start(ann).headers["Location"]
    wait_until_finished(ann, path)

    response = ann.send("POST", f"{path}/cancel")

    assert (response.status_code, response.json["code"]) == (409, "operation_already_started")


@pytest.mark.parametrize("name", ["courses", "unknown-0190163d-8694-739b-aea5-966c26f8ad91", "courses-1", "%20"])
def test_malformed_operation_id_returns_404(ann: Person, name: str):
    assert ann.get(f"/v1/operations/{name}").status_code == 404


def test_reads_ignore_respond_async(ann: Person):
    assert ann.get("/v1/courses", Prefer="respond-async").status_code == 200


def test_slow_service_does_not_block_other_services(ann: Person, monkeypatch):
    monkeypatch.setattr(rpc, "bulkheads", bulkheads.Bulkheads(1))
    ann.get("/v1/me")
    started, release = threading.Event(), threading.Event()

    def wait_for_courses() -> None:
        with rpc.bulkheads.slot("courses"):
            started.set()
            release.wait(10)

    slow = threading.Thread(target=wait_for_courses)
    slow.start()
    started.wait(5)
    refused, served = ann.get("/v1/me/enrollments"), ann.get("/v1/me")
    release.set()
    slow.join()

    assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (
        503,
        "service_overloaded",
        "10",
    )
    assert served.status_code == 200
    assert ann.get("/v1/me/enrollments").status_code == 200
