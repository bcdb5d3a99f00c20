"""The Python client against a server that answers what a test scripts."""

import asyncio
import base64
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
import standardwebhooks
from coursebus import AsyncCoursebus, Coursebus, Retries, UnknownEvent, errors, models, webhooks

QUICK = Retries(first_delay=0.001, max_delay=1)
REFUND = models.RefundRequest(amount_minor=500, reason="Late")
COMPLETION = {
    "course_id": "c",
    "status": "in_progress",
    "percent": 50,
    "lessons_completed": 1,
    "lessons_total": 2,
    "next_lesson_id": None,
    "last_lesson_id": None,
    "started_at": "",
    "completed_at": None,
    "version": 2,
}


@dataclass
class ScriptedServer:
    """An HTTP server that gives ``answers`` in turn: (status, headers, body), or None to drop the connection."""

    answers: list[tuple[int, dict[str, str], Any] | None] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            scripted.requests.append((f"{self.command} {self.path}", dict(self.headers), body))
            answer = scripted.answers.pop(0)
            if answer is None:
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 http.server's names

        def log_message(self, *_: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    scripted.url = f"http://127.0.0.1:{http.server_port}"
    yield scripted
    http.shutdown()
    thread.join()
    http.server_close()


def problem(status: int, code: str = "some_code", **more: Any) -> tuple[int, dict[str, str], Any]:
    headers = {"Retry-After": "0"} if status in {429, 503} else {}
    return status, headers, {"status": status, "code": code, "detail": "Why.", "request_id": "r1", **more}


@pytest.mark.parametrize("trouble", [problem(429), problem(503), problem(504), None])
def test_post_is_repeated_with_the_same_key(server: ScriptedServer, trouble: Any):
    server.answers = [trouble, problem(409, "some_conflict")]

    with Coursebus(server.url, retries=QUICK) as client, pytest.raises(errors.Conflict):
        client.create_refund("o1", REFUND)

    keys = [headers["Idempotency-Key"] for _, headers, _ in server.requests]
    assert (len(keys), len(set(keys))) == (2, 1)
    assert [json.loads(body)["amount_minor"] for _, _, body in server.requests] == [500, 500]


@pytest.mark.parametrize(("trouble", "error"), [(problem(504), errors.OutcomeUnknown), (None, errors.ConnectionFailed)])
def test_conditional_change_with_unknown_outcome_is_not_repeated(server: ScriptedServer, trouble: Any, error: Any):
    server.answers = [trouble]

    with Coursebus(server.url, retries=QUICK) as client, pytest.raises(error):
        client.update_course("c1", models.CourseChanges(title="New"), if_match=3)

    [(_, headers, _)] = server.requests
    assert headers["If-Match"] == '"3"'


def test_put_is_repeated_after_unknown_outcome(server: ScriptedServer):
    server.answers = [None, problem(504), (200, {}, COMPLETION)]

    with Coursebus(server.url, retries=QUICK) as client:
        assert client.complete_lesson("c", uuid4()).percent == 50

    assert len(server.requests) == 3


def test_command_that_is_still_running_is_awaited(server: ScriptedServer):
    server.answers = [(409, {"Retry-After": "0"}, {"code": "running"}), problem(404)]

    with Coursebus(server.url, retries=QUICK) as client, pytest.raises(errors.NotFound):
        client.cancel_order("o1")


def test_repetitions_have_an_end(server: ScriptedServer):
    server.answers = [problem(503)] * 3 + [(503, {"Retry-After": "600"}, {})]

    with Coursebus(server.url, retries=Retries(2, 0.001)) as client:
        with pytest.raises(errors.Unavailable):
            client.get_profile()
        assert len(server.requests) == 3
        with pytest.raises(errors.Unavailable) as refused:
            client.get_profile()
    assert (refused.value.retry_after, len(server.requests)) == (600, 4)


def test_error_has_code_fields_and_request_id(server: ScriptedServer):
    places = [{"pointer": "/title", "detail": "Too long."}]
    server.answers = [problem(422, "validation_failed", errors=places), (500, {}, "no problem document")]

    with Coursebus(server.url) as client:
        with pytest.raises(errors.ValidationFailed) as refused:
            client.update_course("c1", models.CourseChanges(title=""), if_match=3)
        with pytest.raises(errors.ApiError, match="unexpected_response"):
            client.get_profile()
    assert (refused.value.code, refused.value.errors) == ("validation_failed", places)
    assert str(refused.value) == "422 validation_failed: Why.; /title: Too long. (request r1)"


def test_token_is_asked_for_each_request(server: ScriptedServer):
    server.answers = [problem(404), problem(404)]
    tokens = iter(["first", "second"])

    with Coursebus(server.url, token=lambda: next(tokens)) as client:
        for _ in range(2):
            with pytest.raises(errors.NotFound):
                client.get_data_export()

    assert [headers["Authorization"] for _, headers, _ in server.requests] == ["Bearer first", "Bearer second"]


def test_path_parts_and_query_are_encoded(server: ScriptedServer):
    server.answers = [problem(404), (200, {}, {"items": [], "next_cursor": None})]

    with Coursebus(server.url) as client:
        with pytest.raises(errors.NotFound):
            client.get_course("../me?x=1")
        assert list(client.list_courses(q="a&b", free=True, limit=5)) == []

    assert [request for request, _, _ in server.requests] == [
        "GET /v1/courses/..%2Fme%3Fx%3D1",
        "GET /v1/courses?limit=5&q=a%26b&free=true",
    ]


def account(number: int) -> dict[str, Any]:
    return {"account": f"a{number}", "currency": "EUR", "balance_minor": number, "new_field": True}


PAGES = [
    (200, {}, {"items": [account(1), account(2)], "next_cursor": "c"}),
    (200, {}, {"items": [account(3)], "next_cursor": None}),
]


def test_list_is_read_page_by_page(server: ScriptedServer):
    server.answers = list(PAGES)

    with Coursebus(server.url) as client:
        accounts = iter(client.list_ledger_accounts(limit=2))
        assert (next(accounts).account, len(server.requests)) == ("a1", 1)
        assert [each.balance_minor for each in accounts] == [2, 3]

    assert server.requests[1][0] == "GET /v1/ledger/accounts?limit=2&cursor=c"


def event(position: int, type_: str = "USER_DELETED") -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "/users",
        "type": type_,
        "subject": "u1",
        "time": "2026-01-31T00:00:00Z",
        "datacontenttype": "application/json",
        "sequence": "1",
        "dataschema": "https://coursebus.dev/schemas/x/1",
        "position": str(position),
        "data": {"user_id": str(uuid4()), "erasure_id": str(uuid4()), "deleted_at": "2026-01-31T00:00:00Z"},
    }


def feed(*events: dict[str, Any], more: bool) -> tuple[int, dict[str, str], Any]:
    return 200, {}, {"items": list(events), "next_after": events[-1]["position"], "has_more": more}


def test_events_are_typed_and_continue_after_a_position(server: ScriptedServer):
    server.answers = [feed(event(8), event(9, "SOMETHING_NEW"), more=True), feed(event(10), more=False)]

    with Coursebus(server.url) as client:
        first, unknown, last = client.events(after="7", types=["USER_DELETED", "SOMETHING_NEW"])

    assert isinstance(first, models.UserDeletedEvent)
    assert isinstance(unknown, UnknownEvent)
    assert (unknown.type, last.position) == ("SOMETHING_NEW", "10")
    assert [request.partition("?")[2] for request, _, _ in server.requests] == [
        f"after={after}&type=USER_DELETED&type=SOMETHING_NEW&limit=100" for after in (7, 9)
    ]


def operation(status: str, **more: Any) -> tuple[int, dict[str, str], Any]:
    fields = {"id": "users-1", "kind": "k", "status": status, "result": None, "error": None}
    return 200, {}, {**fields, "created_at": "2026-01-31T00:00:00Z", "finished_at": None, **more}


def test_operation_is_awaited(server: ScriptedServer):
    failure = {"type": "", "title": "", "status": 409, "detail": "Why.", "code": "some_code"}
    server.answers = [operation("running"), operation("succeeded", result={"a": 1}), operation("failed", error=failure)]

    with Coursebus(server.url) as client:
        running = client.get_operation("users-1")
        assert client.wait(running, every=0.001) == {"a": 1}
        with pytest.raises(errors.OperationFailed, match="some_code"):
            client.wait(running, every=0.001)
        with pytest.raises(TimeoutError):
            client.wait(running, timeout=-1)


def test_async_client_repeats_lists_and_waits(server: ScriptedServer):
    async def use() -> None:
        async with AsyncCoursebus(server.url, retries=QUICK) as client:
            assert [each.account async for each in client.list_ledger_accounts()] == ["a1", "a2", "a3"]
            assert [each.position async for each in client.events()] == ["8"]
            assert await client.wait(await client.get_operation("users-1"), every=0.001) == {"a": 1}
            with pytest.raises(errors.NotFound):
                await client.cancel_order("o1")

    server.answers = [problem(503), *PAGES, feed(event(8), more=False)]
    server.answers += [operation("running"), operation("succeeded", result={"a": 1}), problem(504), problem(404)]
    asyncio.run(use())

    assert server.requests[-1][1]["Idempotency-Key"] == server.requests[-2][1]["Idempotency-Key"]


@pytest.mark.parametrize("is_async", [False, True])
def test_upload_sends_the_signed_headers_without_the_token(server: ScriptedServer, is_async):
    signed = {"Content-Type": "application/pdf", "Content-Length": "6", "If-None-Match": "*"}
    file = {"id": "f", "kind": "attachment", "name": "a.pdf", "content_type": "application/pdf", "size_bytes": 6}
    file |= {"status": "pending", "created_at": ""}
    upload = {"method": "PUT", "url": f"{server.url}/stored", "content_type": "application/pdf", "expires_at": ""}
    started = (201, {}, {**file, "upload": {**upload, "headers": signed}})
    server.answers = [started, (200, {}, None), (200, {}, {**file, "status": "ready"})]
    described: dict[str, Any] = {"kind": "attachment", "name": "a.pdf", "content_type": "application/pdf"}

    async def upload_async() -> models.File:
        async with AsyncCoursebus(server.url, token="t") as client:
            return await client.upload_file("c", io.BytesIO(b"%PDF-1"), **described)

    if is_async:
        stored = asyncio.run(upload_async())
    else:
        stored = Coursebus(server.url, token="t").upload_file("c", io.BytesIO(b"%PDF-1"), **described)

    request, headers, body = server.requests[1]
    sent = {name.lower(): value for name, value in headers.items()}
    assert (stored.status, request, body) == ("ready", "PUT /stored", b"%PDF-1")
    assert {name: sent.get(name.lower()) for name in signed} == signed
    assert "authorization" not in sent


SECRET = "whsec_" + base64.b64encode(b"a secret of the test").decode()


def test_webhook_is_verified_and_decoded():
    body = json.dumps(event(8))
    at = datetime.now(UTC)
    signed = {
        "webhook-id": "e1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": standardwebhooks.Webhook(SECRET).sign("e1", at, body),
    }

    assert isinstance(webhooks.verify(SECRET, signed, body.encode()), models.UserDeletedEvent)
    for headers, content in ((signed, body + " "), ({**signed, "webhook-timestamp": "1"}, body), ({}, body)):
        with pytest.raises(webhooks.SignatureInvalid):
            webhooks.verify(SECRET, headers, content.encode())


def note(data: dict[str, Any]) -> dict[str, Any]:
    times = dict.fromkeys(("seen_at", "read_at", "archived_at"))
    return {"id": "n", "category": "progress", "title": "", "body": "", "created_at": "", **times, "data": data}


def test_notifications_have_typed_data_also_beside_unknown_kinds(server: ScriptedServer):
    streak = {"kind": "streak", "event": "REMINDER", "about": "u", "since": "", "days": 3}
    later = {"kind": "gift", "event": "GIFT_SENT"}
    server.answers = [(200, {}, {"items": [note(streak), note(later)], "next_cursor": None})]

    known, unknown = [each.data for each in Coursebus(server.url).list_own_notifications()]

    assert isinstance(known, models.StreakData)
    assert known.days == 3
    assert unknown == models.UnknownNotificationData(fields=later)
