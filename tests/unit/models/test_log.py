"""Log lines follow ECS, use one name per field and contain no secrets or personal data."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from core import log
from settings import ROOT

SECRETS = {
    "an e-mail address": "ada@example.com",
    "a token": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
    "a key of Stripe": "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "an address beyond ASCII": "jürgen@bücher.example",
    "an address with signs": "o'hara+tag=1@example.com",
    "a key of YooKassa": "live_Xq3-abcDEF_0123456789",
    "a test key of YooKassa": "test_Xq3-abcDEF_0123456789",
    "a client secret of Stripe": "pi_3MtwBwLkdIwHu7ix28a3tqPa_secret_YrKJUKribcBjcG8HVhfZluoGH",
    "basic credentials": "Basic dXNlcjpwYXNzd29yZA==",
    "a bearer": "Bearer abcdef0123456789",
    "the link of a mail": "/unsubscribe/ROX-4UZ_PTePhAV7GqM1GOGabc",
    "a webhook's secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}


@pytest.fixture
def lines(monkeypatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return all log lines, decoded from JSON."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log.configure("test")
    structlog.configure(cache_logger_on_first_use=False)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    structlog.configure(**before)
    root.handlers[:], root.level = handlers, level


def test_line_is_ecs_with_custom_fields_namespaced(lines):
    with log.bind_context(request_id="r1", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01", task="users.show_me"):
        log.get_logger("x").warning("payment captured", amount_minor=4900)

    [line] = lines()
    assert line.pop("@timestamp").endswith("Z")
    assert line.pop("ecs.version")
    assert line == {
        "log.level": "warning",
        "message": "payment captured",
        "service": {"name": "coursebus-test", "version": "development"},
        "trace": {"id": "a" * 32},
        "span": {"id": "b" * 16},
        "http": {"request": {"id": "r1"}},
        "coursebus": {"task": "users.show_me", "amount_minor": 4900},
    }


@pytest.mark.parametrize(("level", "written"), [("debug", 3), ("warning", 1)])
def test_level_sets_which_lines_are_written(request, monkeypatch, level: str, written: int):
    monkeypatch.setattr("settings.LOG_LEVEL", level)
    lines = request.getfixturevalue("lines")
    logger = log.get_logger("x")

    logger.debug("a")
    logger.info("b")
    logger.warning("c")

    assert len(lines()) == written


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_secrets_are_masked(lines, secret: str):
    error = RuntimeError(secret)
    logger = log.get_logger("x")
    logger.info(secret, value=f"x {secret}", nested={"deep": [secret, {secret}]}, error=error)
    logger.warning("crashed", exc_info=error)
    logging.getLogger("urllib3").warning("sent %s", secret)
    logging.getLogger("celery").warning("crashed", exc_info=error)

    found = lines()
    assert len(found) == 4
    assert secret not in json.dumps(found)
    assert "RuntimeError" in found[1]["error"]["stack_trace"]


def test_user_and_password_of_a_url_are_masked(lines):
    log.get_logger("x").info("unreachable", reason="cannot connect to amqps://relay:s3cret-pw@mail.example.com:465/x")

    [line] = lines()
    assert line["coursebus"]["reason"] == "cannot connect to amqps://***mail.example.com:465/x"


@pytest.mark.parametrize("text", ["test_order", "a test_of it", "Basic", "12:30 @ noon", "https://example.com/a?b=c"])
def test_plain_text_is_not_masked(lines, text: str):
    log.get_logger("x").info("said", text=text)

    assert lines()[0]["coursebus"]["text"] == text


@pytest.mark.parametrize("name", ["password", "access_token", "Authorization", "client_secret", "Cookie"])
def test_fields_with_secret_names_are_masked(lines, name: str):
    log.get_logger("x").info("said", **{name: "hunter2"}, headers={name: "hunter2"})

    assert "hunter2" not in json.dumps(lines())


def test_logging_survives_closed_pipe():
    """A worker of the gateway may outlive its master; it must still answer its open requests."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    script = "from core import log; log.configure('test'); log.get_logger('a').info('b'); print('continued')"
    completed = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=write_end, check=False, cwd=ROOT, text=True
    )
    os.close(write_end)
    assert completed.stdout == "continued\n"


def test_logging_survives_closed_stream():
    closed = io.StringIO()
    stream = log._BestEffortStream(closed)  # noqa: SLF001 like configure(); pytest's standard error cannot be closed
    closed.close()

    stream.write("lost")
    stream.flush()
