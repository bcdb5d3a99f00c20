"""Invalid requests get a problem response in the documented order of checks, never a 500."""

import json

import pytest
from werkzeug.test import TestResponse

import settings
from core.messaging import rpc, task_queue
from core.redis import queue_redis
from models import errors
from tests.support.gateway import Person, problem

PRICE = {"amount_minor": 100, "currency": "EUR"}


def pointers(response: TestResponse) -> list[str]:
    assert problem(response) == (422, "validation_failed")
    return [error["pointer"] for error in response.json["errors"]]


def parameters(response: TestResponse) -> list[str]:
    """Return the names of the query parameters that a problem names."""
    assert problem(response) == (422, "validation_failed")
    return [error["parameter"] for error in response.json["errors"]]


def post(ann: Person, body: bytes | str, **headers: str) -> TestResponse:
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {ann.token()}", **headers}
    return ann.client.post("/v1/things", data=body, headers=sent)


def test_repeated_query_parameter_is_rejected(ann: Person):
    response = ann.client.get("/v1/courses?category=bread&category=cheese")

    assert problem(response) == (422, "validation_failed")
    assert "category" in str(response.json["errors"])


# Order of the checks: 401, 403, 404, 428, 400, 422.


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, (401, "token_missing")),
        ({"token": ()}, (403, "insufficient_permission")),
        ({"token": ("things:write",)}, (404, "not_found")),
        ({"token": ("things:write",), "thing": "existing"}, (428, "precondition_required")),
        ({"token": ("things:write",), "thing": "existing", "If-Match": '"1"'}, (400, "malformed")),
        (
            {"token": ("things:write",), "thing": "existing", "If-Match": '"1"', "body": "{}"},
            (422, "validation_failed"),
        ),
    ],
)
def test_validation_order_follows_contract(ann: Person, changed: dict, expected: tuple):
    headers = {"Content-Type": "application/json", "If-Match": changed.get("If-Match", "")}
    if "token" in changed:
        ann.permissions = changed["token"]
        headers["Authorization"] = f"Bearer {ann.token()}"
    path = f"/v1/things/{changed.get('thing', 'missing')}"
    response = ann.client.put(path, data=changed.get("body", "{"), headers=headers)

    assert problem(response) == expected


# Router and parsers.


def test_unknown_path_returns_404(client):
    assert problem(client.get("/v1/nothing")) == (404, "not_found")
    # The test client would take the first part of this path as a host.
    assert problem(client.get("/", environ_overrides={"PATH_INFO": "//v1//things"})) == (404, "not_found")
    assert problem(client.get("/v1/things/%00")) == (404, "not_found")


def test_unknown_method_returns_405_with_allow_header(client):
    response = client.delete("/v1/things")

    assert problem(response) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "{} {}",
        "'a'",
        '{"name": NaN}',
        '{"name": -Infinity}',
        '{"name": "\x00"}',
        '{"name": "a\nb"}',
        '{"name": "a", "name": "b"}',
        '{"parts": [{"name": "a", "name": "b"}]}',
        b'{"name": "\xff"}',
        b"\xef\xbb\xbf{}",
        '{"name": "a"}'.encode("utf-16"),
        '{"parts": ' * 30 + "[]" + "}" * 30,
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
    ids=range(15),
)
def test_malformed_json_returns_400(ann: Person, body: bytes | str):
    assert problem(post(ann, body)) == (400, "malformed")


def test_missing_body_returns_400(ann: Person):
    assert problem(post(ann, "")) == (400, "malformed")


def test_other_content_type_returns_415(ann: Person):
    assert problem(post(ann, "price=1", **{"Content-Type": "text/plain"})) == (415, "unsupported_media_type")
    assert problem(post(ann, "{}", **{"Content-Type": ""})) == (415, "unsupported_media_type")


def test_body_above_one_mebibyte_returns_413(ann: Person):
    largest = json.dumps({"price": PRICE, "name": ""})
    fits = largest.replace('""', f'"{"x" * (1024 * 1024 - len(largest))}"')

    assert post(ann, fits).status_code == 200
    assert problem(post(ann, fits + " ")) == (413, "body_too_large")


# Schemas.


@pytest.mark.parametrize(
    "amount",
    ["100.0", "1e2", "1e-42", "true", "false", "null", '"100"', "[]", "{}", "-1", "1" * 30, "1" * 5000, "1e400"],
)
def test_invalid_amount_returns_422(ann: Person, amount: str):
    response = post(ann, f'{{"price": {{"amount_minor": {amount}, "currency": "EUR"}}}}')

    assert pointers(response) == ["/price/amount_minor"]


@pytest.mark.parametrize("flag", ["0", "1", "1.0", '"true"', '""', "null", "[]"])
def test_boolean_field_rejects_truthy_values(ann: Person, flag: str):
    assert pointers(post(ann, json.dumps({"price": PRICE}).replace("{", f'{{"shiny": {flag}, ', 1))) == ["/shiny"]


@pytest.mark.parametrize("body", ["[]", "null", "7", '"a"', "true"])
def test_non_object_body_returns_422(ann: Person, body: str):
    assert pointers(post(ann, body)) == [""]


def test_unstorable_text_returns_422_with_pointer(ann: Person):
    parts = [{"price": PRICE}, {"price": PRICE, "name": "\ud800"}]

    assert pointers(post(ann, json.dumps({"price": PRICE, "name": "a\x00"}))) == ["/name"]
    assert pointers(post(ann, json.dumps({"price": PRICE, "parts": parts}))) == ["/parts/1/name"]
    assert parameters(ann.get("/v1/things?q=a%00")) == ["q"]


def test_error_pointer_is_escaped(ann: Person):
    assert pointers(post(ann, json.dumps({"price": PRICE, "a/b~c": 1, "": 2}))) == ["/", "/a~1b~0c"]


def test_unknown_fields_are_rejected_in_body_and_query(ann: Person):
    assert pointers(post(ann, json.dumps({"price": {**PRICE, "tax": 1}}))) == ["/price/tax"]
    assert parameters(ann.get("/v1/things?limit=1&offset=2")) == ["offset"]
    # A route without parameters has no schema, but rejects unknown parameters too.
    assert parameters(ann.send("POST", "/v1/things?dry_run=true", {"price": PRICE})) == ["dry_run"]
    assert pointers(ann.send("POST", "/v1/things/a/purchase", {"amount": 1}, Idempotency_Key="k")) == ["/amount"]
    assert ann.send("POST", "/v1/things/a/purchase", {}, Idempotency_Key="k").status_code == 200


def test_query_with_invalid_utf8_returns_400(client):
    assert problem(client.get("/v1/things?q=%ff")) == (400, "malformed")
    assert problem(client.get("/v1/nothing/%ff")) == (404, "not_found")


def test_long_query_is_accepted(client):
    assert client.get(f"/v1/things?q={'x' * 10_000}").status_code == 200
    assert parameters(client.get(f"/v1/things?limit={'1' * 10_000}")) == ["limit"]


def test_missing_or_invalid_idempotency_key_returns_400(ann: Person):
    response = ann.send("POST", "/v1/things/a/purchase", Idempotency_Key="")

    assert problem(ann.send("POST", "/v1/things/a/purchase")) == (400, "idempotency_key_missing")
    assert problem(response) == (400, "idempotency_key_invalid")
    assert problem(ann.send("POST", "/v1/things/a/purchase", Idempotency_Key="a" * 256))[0] == 400


# Queue and workers.


@pytest.fixture
def worker_reply(monkeypatch):
    """Return a function that sets the reply of the worker."""

    def prepare(reply: dict) -> None:
        monkeypatch.setattr(rpc, "wait_for_reply", lambda *_: reply)
        monkeypatch.setattr(task_queue, "enqueue", lambda *_, **__: None)

    return prepare


@pytest.mark.parametrize(
    ("error", "args", "expected"),
    [
        (errors.NotFound, ["order", "7"], (404, "not_found")),
        (errors.NotEnrolled, ["7"], (403, "not_enrolled")),
        (errors.LessonLocked, ["7"], (409, "lesson_locked")),
        (errors.PreconditionFailed, ["course", "3"], (412, "precondition_failed")),
        (errors.ProviderUnavailable, ["stripe"], (503, "provider_unavailable")),
    ],
)
def test_worker_error_becomes_problem_response(ann: Person, worker_reply, error, args, expected):
    worker_reply({"error": {"name": error.__name__, "args": args}})

    assert problem(ann.get("/v1/operations/users-00000000-0000-0000-0000-000000000000")) == expected


def test_unknown_worker_error_keeps_status_and_code(ann: Person, worker_reply):
    worker_reply(
        {"error": {"name": "NewerError", "args": [], "status": 409, "code": "newer", "detail": "A newer error."}}
    )

    response = ann.get("/v1/operations/users-00000000-0000-0000-0000-000000000000")

    assert problem(response) == (409, "newer")
    assert response.json["detail"] == "A newer error."


@pytest.mark.parametrize("reply", [{}, {"poison": 5}, {"error": None}, {"error": "NotFound"}], ids=str)
def test_malformed_reply_is_an_internal_error(ann: Person, worker_reply, reply):
    worker_reply(reply)

    problem_of_reply = problem(ann.get("/v1/operations/users-00000000-0000-0000-0000-000000000000"))

    assert problem_of_reply == (500, "internal_error")


def test_full_queue_returns_503_with_retry_after(ann: Person):
    queue_redis().rpush("users", *['{"headers": {}}'] * settings.QUEUE_LIMIT)
    try:
        response = ann.get("/v1/me")
    finally:
        queue_redis().delete("users")

    assert problem(response) == (503, "queue_full")
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(("method", "deadline"), [("GET", "READ"), ("POST", "COMMAND")])
def test_worker_timeout_returns_504(ann: Person, monkeypatch, method: str, deadline: str):
    monkeypatch.setattr(settings, f"{deadline}_TIMEOUT_SECONDS", 0)
    monkeypatch.setattr(task_queue, "enqueue", lambda *_, **__: None)

    assert problem(ann.send(method, "/v1/me/export")) == (504, "outcome_unknown")


def test_crash_response_leaks_no_details(ann: Person, client, worker_reply):
    assert problem(client.get("/v1/things/crash")) == (500, "internal_error")
    worker_reply({"crash": "RuntimeError('the password is hunter2')"})
    crashed = ann.get("/v1/operations/users-00000000-0000-0000-0000-000000000000")

    assert problem(crashed) == (500, "internal_error")
    for response in (client.get("/v1/things/crash"), crashed):
        assert "hunter2" not in response.text
        assert "RuntimeError" not in response.text
