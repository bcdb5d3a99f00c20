"""The running platform: clients, process kills, and waiting for effects."""

import os
import re
import signal
from dataclasses import dataclass
from functools import cached_property
from json import dumps as json_encoded
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import requests
from redis import Redis

import settings
from models.events.routes import ROUTES
from ops.dev.readiness import is_ok
from ops.dev.stack import Stack
from tests.support import environment
from tests.support.databases import Database
from tests.support.openapi import assert_documented
from tests.support.polling import eventually

_PASSWORD = "demo"  # the fake accepts it for every user
_UNHANDLED = """
    SELECT count(*) FROM bus.outbox
    JOIN jsonb_each(CAST(:routes AS jsonb)) AS routes (type, handlers) USING (type)
    CROSS JOIN jsonb_array_elements_text(handlers) AS handler (name)
    WHERE NOT EXISTS (SELECT FROM bus.inbox WHERE inbox.event_id = outbox.id AND inbox.handler = handler.name)
    -- The inbox is pruned; events of that age are not published again.
    AND coalesce(published_at, now()) > now() - make_interval(days => :days)
"""


_RETURNS_SECRET = re.compile(r"/v1/webhook-endpoints(/[^/]+/rotate-secret)?|/v1/me/notifications/stream-ticket")


@dataclass(frozen=True)
class Person:
    """A user as a client of the gateway. Headers are keywords with underscores for hyphens."""

    url: str
    token: str | None
    email: str | None = None

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.send("GET", path, **headers)

    def put(self, path: str, json: Any = None, **headers: str) -> requests.Response:
        return self.send("PUT", path, json, **headers)

    def post(self, path: str, json: Any = None, **headers: str) -> requests.Response:
        """Send a POST with a new Idempotency-Key, unless one is given or the endpoint does not accept it."""
        key = {} if _RETURNS_SECRET.fullmatch(path) else {"Idempotency_Key": uuid4().hex}
        return self.send("POST", path, json, **{**key, **headers})

    def send(self, method: str, path: str, json: Any = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            named.setdefault("Authorization", f"Bearer {self.token}")
        response = requests.request(method, self.url + path, json=json, headers=named, timeout=30)
        assert_documented(method, urlsplit(path).path, response.status_code, response.headers, response.content)
        return response


class Platform:
    """All processes of a running stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.url, self.auth0, self.stripe, self.yookassa, self.clock, self.mail_sink = (
            f"http://127.0.0.1:{stack.port(part)}"
            for part in ("gateway", "auth0", "stripe", "yookassa", "clock", "mail-http")
        )
        self.database = Database(environment.SERVER_URL)
        self.anonymous = Person(self.url, token=None)

    def person(self, email: str | None = None) -> Person:
        """Sign in the user with ``email``; without it, a new user."""
        email = email or f"{uuid4().hex[:12]}@example.com"
        form = {"grant_type": "password", "username": email, "password": _PASSWORD}
        response = requests.post(f"{self.auth0}/oauth/token", data=form, timeout=10)
        response.raise_for_status()
        return Person(self.url, response.json()["access_token"], email)

    def client_with_claims(self, claims: dict[str, Any], **more: Any) -> Person:
        """Return a client whose token has exactly these claims; ``more`` are the options of the fake's /__mint."""
        response = requests.post(f"{self.auth0}/__mint", json={"claims": claims, **more}, timeout=10)
        return Person(self.url, response.json()["token"])

    def mails(self, to: str | None) -> list[dict[str, Any]]:
        """Return the mails to ``to`` in the mail sink, the newest last."""
        return list(requests.get(f"{self.mail_sink}/messages", params={"to": to or ""}, timeout=10).json())

    @cached_property
    def queues(self) -> Redis:
        """Return a client of the queue Redis, with the database of the workers."""
        given = environment.PLATFORM_ENVIRON.get("REDIS_URL")
        return Redis.from_url(given or f"redis://127.0.0.1:{self.stack.port('queue')}/0")

    def kill(self, name: str) -> int:
        """Kill a process with SIGKILL as soon as it runs; return its pid. The supervisor starts it again."""
        pid = eventually(lambda: self.stack.pids().get(name), f"the process {name}")
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_restart(self, name: str, killed_pid: int, *, seconds: float = 60) -> None:
        """Return when a process other than ``killed_pid`` runs as ``name`` and is up."""
        eventually(lambda: self.stack.pids().get(name) not in (None, killed_pid), f"a new {name}", seconds=seconds)
        self.wait_until_up(name, seconds=seconds)

    def wait_until_up(self, *names: str, seconds: float = 60) -> None:
        """Return when these processes are up; without names, when all are up and the gateway is ready."""
        for name in names or [process.name for process in self.stack.processes]:
            self.stack.wait_until_up(name, seconds)
        if not names:
            eventually(lambda: is_ok(f"{self.url}/readyz"), "the gateway", seconds=seconds)

    def wait_until_handled(self, *, seconds: float = 60) -> None:
        """Return when all handlers in models/events/routes.py have processed every event."""
        eventually(lambda: self.unhandled() == 0, "the last event's handler", seconds=seconds)

    def unhandled(self) -> int:
        """Return the number of (event, handler) pairs that are not processed yet."""
        return int(self.database.value(_UNHANDLED, routes=json_encoded(ROUTES), days=settings.OUTBOX_RETENTION_DAYS))
