"""Behaviour of the real server: malformed HTTP, slow connections and endless bodies."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests

import settings
from ops.dev.ports import is_free, is_open
from ops.dev.processes import CLIENT
from ops.gunicorn_worker import REQUEST_SECONDS
from tests.support.polling import eventually

pytestmark = pytest.mark.processes


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    assert is_free(port)
    return port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Run the gateway under gunicorn with ops/gunicorn.py; return its port."""
    with serving("wsgi:app", "ops/gunicorn.py") as port:
        yield port


@pytest.fixture(scope="module")
def pages_port() -> Iterator[int]:
    """Run the pages under gunicorn with ops/gunicorn_web.py; return their port."""
    with serving("web:create_app()", "ops/gunicorn_web.py") as port:
        yield port


@contextmanager
def serving(application: str, config: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", application, "-c", config, "-b", f"127.0.0.1:{port}"]
    environ = {**os.environ, "PYTHONPATH": CLIENT}
    with subprocess.Popen(command, cwd=settings.ROOT, env=environ, stderr=subprocess.DEVNULL) as gunicorn:
        eventually(lambda: is_open(port))
        yield port
        gunicorn.terminate()


def send_raw(port: int, sent: bytes) -> tuple[int, dict[str, str], dict]:
    """Send raw bytes; return status, headers and problem."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        response = http.client.HTTPResponse(connection)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        body = response.read()
    assert headers["content-type"] == "application/problem+json", body
    problem = json.loads(body)
    assert (problem["status"], problem["request_id"]) == (response.status, headers["x-request-id"])
    return response.status, headers, problem


HOOK = b"POST /v1/webhooks/stripe HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
GET = b"GET /v1/me HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/courses HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"nonsense\r\n\r\n", (400, "malformed")),
        (b"GET /v1/me HTTP/9.9\r\nHost: a\r\n\r\n", (400, "malformed")),
        (GET + b"X-Request-Id: a\r\n folded\r\n\r\n", (400, "malformed")),
        (GET + b"X-Request-Id: a\x00b\r\n\r\n", (400, "malformed")),
        (GET + b"Bad Name: a\r\n\r\n", (400, "malformed")),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", (400, "malformed")),
        (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400, "malformed")),
        (POST + b"Content-Length: -1\r\n\r\n", (400, "malformed")),
        (HOOK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", (400, "malformed")),
        (HOOK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n", (400, "malformed")),
        (b"GET /v1/courses?q=" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", (414, "uri_too_long")),
        (GET + b"X-Long: " + b"x" * 10_000 + b"\r\n\r\n", (431, "headers_too_large")),
        (GET + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"\r\n", (431, "headers_too_large")),
    ],
    ids=range(13),
)
def test_malformed_http_returns_problem(port: int, sent: bytes, expected: tuple):
    status, _, problem = send_raw(port, sent)

    assert (status, problem["code"]) == expected


def test_request_id_cannot_inject_headers(port: int):
    _, headers, _ = send_raw(port, GET + b"X-Request-Id: a%0d%0aSet-Cookie: b=c\r\nConnection: close\r\n\r\n")

    assert "set-cookie" not in headers


def test_no_header_changes_the_path(port: int):
    for headers in ({"SCRIPT_NAME": "/livez"}, {"SCRIPT_NAME": "/v1"}, {"PATH_INFO": "/v1/me"}):
        response = requests.get(f"http://127.0.0.1:{port}/livez", headers=headers, timeout=20)

        assert (response.status_code, response.json()["status"]) == (200, "alive")


def test_client_receives_413_for_oversized_body(port: int):
    # The route needs no token. The response must not be lost through a reset of the connection.
    response = requests.post(f"http://127.0.0.1:{port}/v1/webhooks/stripe", data=b"x" * 4 * 1024 * 1024, timeout=20)

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_endless_chunked_body_returns_413(port: int):
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 64 * 1024

    response = requests.post(f"http://127.0.0.1:{port}/v1/webhooks/stripe", data=chunks(), timeout=20)

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


INCOMPLETE_REQUESTS = (
    b"GET /livez HTTP/1.1\r\nHost: a\r\nX-A: ",
    HOOK + b"Content-Length: 100\r\n\r\n{",
    HOOK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    HOOK + b"Content-Length: 2000000\r\n\r\n",
    b"",
)


@pytest.mark.parametrize("server", ["port", "pages_port"])
def test_slow_connections_do_not_block_others(request, server: str):
    port = request.getfixturevalue(server)
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(120)]
        for number, connection in enumerate(slow):
            connection.sendall(INCOMPLETE_REQUESTS[number % len(INCOMPLETE_REQUESTS)])
        began = time.monotonic()
        for _ in range(5):
            assert requests.get(f"http://127.0.0.1:{port}/livez", timeout=10).status_code == 200
        took_seconds = time.monotonic() - began
        connection = slow[0]
        refused = http.client.HTTPResponse(connection)
        refused.begin()
        refused_after_seconds = time.monotonic() - began
        code = json.loads(refused.read())["code"]

    assert took_seconds < 5
    assert (refused.status, code) == (408, "request_timeout")
    assert refused_after_seconds < REQUEST_SECONDS + 3


def test_pipelined_requests_are_answered_in_order(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 2 + GET + b"Connection: close\r\n\r\n")
        with connection.makefile("rb") as received:
            responses = received.read()

    assert responses.count(b"200 OK") == 2
    assert responses.rindex(b"200 OK") < responses.index(b"401 UNAUTHORIZED")


def test_expected_continue_is_sent_once(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(HOOK + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        with connection.makefile("rb") as received:
            response = received.read()

    assert response.startswith(b"HTTP/1.1 400 ")
