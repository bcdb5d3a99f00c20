"""Our own push is read by Celery as one of its own, and a full queue says so."""

import base64
import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from uuid import uuid4

import pytest

import celery_app
import settings
from celery_app import Envelope
from models.errors import QueueFull
from models.redis import queue_redis, tls_options, without_tls_options

MESSAGE = {"user_id": "u", "course_id": "c", "lesson_id": "l"}
TASK = "progress.complete_lesson"
# Made anew for each message, for people to read, or of the sender.
OF_NO_MATTER = {"argsrepr", "kwargsrepr", "origin", "delivery_tag"}
# Celery writes them, and its workers read them only where they hold something.
LEFT_OUT = {"shadow", "group_index", "replaced_task_nesting", "stamped_headers", "stamps"}


@pytest.fixture
def queue() -> str:
    """The queue of TASK, empty before and after."""
    queue_redis().delete("progress")
    yield "progress"
    queue_redis().delete("progress")


def popped() -> dict:
    message = json.loads(queue_redis().rpop("progress"))
    message["body"] = json.loads(base64.b64decode(message["body"]))
    return message


def without(fields: dict, names: set[str]) -> dict:
    return {name: value for name, value in fields.items() if name not in names}


@pytest.mark.parametrize("expires_at", [None, datetime(2100, 1, 1, tzinfo=UTC).timestamp()])
def test_a_message_is_what_celery_itself_would_send(queue, expires_at):
    task_id, envelope = str(uuid4()), Envelope(expires_at=expires_at, request_id="r")
    celery_app.send(TASK, MESSAGE, envelope, task_id=task_id)
    ours = popped()
    celery_app.celery_app.send_task(
        TASK,
        kwargs=MESSAGE,
        task_id=task_id,
        expires=datetime.fromtimestamp(expires_at, UTC) if expires_at else None,
        ignore_result=True,
        headers={"envelope": asdict(envelope)},
    )
    theirs = popped()

    assert without(ours["headers"], OF_NO_MATTER) == without(theirs["headers"], OF_NO_MATTER | LEFT_OUT)
    assert not any(theirs["headers"][name] for name in LEFT_OUT)
    # An expiration there is for brokers that look; the worker goes by the header.
    of_no_matter = OF_NO_MATTER | {"reply_to", "expiration"}
    assert without(ours["properties"], of_no_matter) == without(theirs["properties"], of_no_matter)
    assert ours["body"] == theirs["body"]
    assert without(ours, {"headers", "properties", "body"}) == without(theirs, {"headers", "properties", "body"})


def test_no_message_is_shown_to_flower_or_the_logs(queue):
    celery_app.send(TASK, {"email": "ann@example.com"}, Envelope())
    assert "ann@" not in json.dumps(popped()["headers"])


def test_a_full_queue_takes_no_more(queue):
    for _ in range(2):
        celery_app.send(TASK, MESSAGE, Envelope(), limit=2)
    with pytest.raises(QueueFull):
        celery_app.send(TASK, MESSAGE, Envelope(), limit=2)
    assert queue_redis().llen(queue) == 2


def test_full_queue_refuses_also_if_its_oldest_message_is_malformed(queue):
    queue_redis().rpush(queue, b"not json")

    with pytest.raises(QueueFull):
        celery_app.send(TASK, MESSAGE, Envelope(), limit=1)


def test_a_task_of_no_service_finds_no_queue():
    """A typo would be a list that nobody reads."""
    with pytest.raises(Exception, match="progres"):
        celery_app.celery_app.send_task("progres.complete_lesson")


def test_a_worker_loads_its_own_service_and_what_that_needs():
    """The modules of five more services take memory and time; the keys of Stripe are no business of theirs."""
    loads = "import celery_app, sys; celery_app.celery_app.loader.import_default_modules(); print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", loads],
            env={**os.environ, "SERVICE": "progress"},
            cwd=settings.ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
    )
    assert "workers.progress" in loaded
    assert not loaded & {f"workers.{service}" for service in set(settings.SERVICES) - {"progress"}}
    assert not loaded & {"stripe", "yookassa", "pymongo"}


# What the first connection of each process is made by.
CLIENTS = {
    "worker and beat": "from celery_app import celery_app; celery_app.connection_for_read().channel().client.ping()",
    "sender": "from models.redis import queue_redis; queue_redis().ping()",
    "cache": "from models.redis import cache_redis; cache_redis().ping()",
    "readiness": "import settings; from api.health import _answers; _answers(settings.REDIS_URL)",
}


def first_bytes_of(client: str, scheme: str, query: str) -> bytes:
    """What ``client`` sends first to a server at such a URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        url = f"{scheme}://:secretpw@127.0.0.1:{server.getsockname()[1]}/0{query}"
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENTS[client]],
            env={**os.environ, "REDIS_URL": url, "CACHE_URL": url, "SERVICE": "payments"},
            cwd=settings.ROOT,
            stderr=subprocess.DEVNULL,
        )
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                return connection.recv(100)
        finally:
            process.kill()
            process.wait()


TLS_CLIENT_HELLO = b"\x16\x03"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("query", ["", "?ssl_cert_reqs=none"])
def test_rediss_is_tls_for_every_client(client: str, query: str):
    assert first_bytes_of(client, "rediss", query).startswith(TLS_CLIENT_HELLO)


def test_redis_is_not_tls():
    assert first_bytes_of("worker and beat", "redis", "").startswith(b"*")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache:6379/0", {}),
        ("rediss://cache:6379/0", {"ssl_cert_reqs": "required"}),
        ("rediss://cache/0?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": "none"}),
        (
            "rediss://cache/0?ssl_ca_certs=%2Fca.pem&ssl_check_hostname=false",
            {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False},
        ),
    ],
)
def test_tls_options_come_from_the_url(url: str, expected: dict):
    assert tls_options(url) == expected


def test_other_options_stay_in_the_url():
    assert (
        without_tls_options("rediss://:pw@cache/0?ssl_cert_reqs=none&protocol=3") == "rediss://:pw@cache/0?protocol=3"
    )
