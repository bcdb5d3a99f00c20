"""Messages of ``task_queue`` have Celery's format, and a full queue rejects them."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from uuid import uuid4

import pytest

import celery_app
import settings
from core.messaging import task_queue
from core.messaging.task_queue import Envelope
from core.redis import queue_redis, tls_options, without_tls_options
from models.errors import QueueFull

MESSAGE = {"user_id": "u", "course_id": "c", "lesson_id": "l"}
TASK = "progress.complete_lesson"
# Fields that differ in each message, are for people only, or describe the sender.
IGNORED_FIELDS = {"argsrepr", "kwargsrepr", "origin", "delivery_tag"}
# Fields that Celery always writes and its workers read only if they have a value.
OMITTED_FIELDS = {"shadow", "group_index", "replaced_task_nesting", "stamped_headers", "stamps"}


@pytest.fixture
def queue() -> str:
    """Empty the queue of TASK before and after the test; return its name."""
    queue_redis().delete("progress")
    yield "progress"
    queue_redis().delete("progress")


def pop_message() -> dict:
    message = json.loads(queue_redis().rpop("progress"))
    message["body"] = json.loads(base64.b64decode(message["body"]))
    return message


def without(fields: dict, names: set[str]) -> dict:
    return {name: value for name, value in fields.items() if name not in names}


def test_message_matches_celerys_own(queue):
    task_id, envelope = str(uuid4()), Envelope(expires_at=time.time(), request_id="r")
    task_queue.enqueue(TASK, MESSAGE, envelope, task_id=task_id)
    ours = pop_message()
    celery_app.celery_app.send_task(
        TASK,
        kwargs=MESSAGE,
        task_id=task_id,
        ignore_result=True,
        headers={"envelope": asdict(envelope)},
    )
    theirs = pop_message()

    assert without(ours["headers"], IGNORED_FIELDS) == without(theirs["headers"], IGNORED_FIELDS | OMITTED_FIELDS)
    assert not any(theirs["headers"][name] for name in OMITTED_FIELDS)
    ignored_properties = IGNORED_FIELDS | {"reply_to"}
    assert without(ours["properties"], ignored_properties) == without(theirs["properties"], ignored_properties)
    assert ours["body"] == theirs["body"]
    assert without(ours, {"headers", "properties", "body"}) == without(theirs, {"headers", "properties", "body"})


def test_message_headers_contain_no_arguments(queue):
    task_queue.enqueue(TASK, {"email": "ann@example.com"}, Envelope())
    assert "ann@" not in json.dumps(pop_message()["headers"])


def test_full_queue_rejects_messages(queue):
    for _ in range(2):
        task_queue.enqueue(TASK, MESSAGE, Envelope(sent_at=time.time() - 12.5), limit=2)
    with pytest.raises(QueueFull) as refused:
        task_queue.enqueue(TASK, MESSAGE, Envelope(), limit=2)
    assert refused.value.retry_after_seconds == 13  # the age of the oldest message
    assert queue_redis().llen(queue) == 2


def test_full_queue_with_malformed_message_rejects_messages(queue):
    queue_redis().rpush(queue, b"not json")

    with pytest.raises(QueueFull):
        task_queue.enqueue(TASK, MESSAGE, Envelope(), limit=1)


def test_task_of_unknown_service_is_rejected():
    """A misspelled service would create a Redis list that no worker reads."""
    with pytest.raises(Exception, match="progres"):
        celery_app.celery_app.send_task("progres.complete_lesson")


def test_worker_loads_only_its_own_service():
    """Modules of the other services would cost memory and start-up time, and load the Stripe keys without need."""
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


# The code that opens the first Redis connection of each process.
CLIENTS = {
    "worker and beat": "from celery_app import celery_app; celery_app.connection_for_read().channel().client.ping()",
    "sender": "from core.redis import queue_redis; queue_redis().ping()",
    "cache": "from core.redis import cache_redis; cache_redis().ping()",
    "readiness": "import settings; from api.health import _responds_to_ping; _responds_to_ping(settings.REDIS_URL)",
}


def first_bytes_of(client: str, scheme: str, query: str) -> bytes:
    """Return the first bytes that ``client`` sends to a server at a URL with ``scheme`` and ``query``."""
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
