"""The running platform, for whoever asks it, kills its processes, and waits for what comes of that."""

import os
import re
import signal
from dataclasses import dataclass
from functools import cached_property
from json import dumps as json_encoded
from typing import Any
from uuid import uuid4

import requests
from redis import Redis

import settings
from bridge.routes import ROUTES
from ops.dev.readiness import is_ok
from ops.dev.stack import Stack
from tests.support import environment
from tests.support.databases import Database
from tests.support.polling import eventually

_PASSWORD = "demo"  # of everybody at the fake
_UNHANDLED = """
    SELECT count(*) FROM bus.outbox
    JOIN jsonb_each(CAST(:routes AS jsonb)) AS routes (type, handlers) USING (type)
    CROSS JOIN jsonb_array_elements_text(handlers) AS handler (name)
    WHERE NOT EXISTS (SELECT FROM bus.inbox WHERE inbox.event_id = outbox.id AND inbox.handler = handler.name)
    -- The inbox forgets old events, which are not published again.
    AND coalesce(published_at, now()) > now() - make_interval(days => :days)
"""


_RETURNS_SECRET = re.compile(r"/v1/webhook-endpoints(/[^/]+/rotate-secret)?")


@dataclass(frozen=True)
class Person:
    """Somebody who speaks to the gateway. Headers are keywords, with an underscore for each hyphen."""

    url: str
    token: str | None
    email: str | None = None

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.send("GET", path, **headers)

    def put(self, path: str, json: Any = None, **headers: str) -> requests.Response:
        return self.send("PUT", path, json, **headers)

    def post(self, path: str, json: Any = None, **headers: str) -> requests.Response:
        """With an Idempotency-Key of its own where none is given, and where one is taken."""
        key = {} if _RETURNS_SECRET.fullmatch(path) else {"Idempotency_Key": uuid4().hex}
        return self.send("POST", path, json, **{**key, **headers})

    def send(self, method: str, path: str, json: Any = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            named.setdefault("Authorization", f"Bearer {self.token}")
        return requests.request(method, self.url + path, json=json, headers=named, timeout=30)


class Platform:
    """All processes of the stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.url, self.auth0, self.stripe, self.yookassa, self.clock, self.mail_sink = (
            f"http://127.0.0.1:{stack.port(part)}"
            for part in ("gateway", "auth0", "stripe", "yookassa", "clock", "mail-http")
        )
        self.database = Database(environment.SERVER_URL)
        self.anonymous = Person(self.url, token=None)

    def person(self, email: str | None = None) -> Person:
        """Somebody signed in; without ``email`` somebody who has never been here before."""
        email = email or f"{uuid4().hex[:12]}@example.com"
        form = {"grant_type": "password", "username": email, "password": _PASSWORD}
        answer = requests.post(f"{self.auth0}/oauth/token", data=form, timeout=10)
        answer.raise_for_status()
        return Person(self.url, answer.json()["access_token"], email)

    def client_with_claims(self, claims: dict[str, Any], **more: Any) -> Person:
        """A bearer of exactly these claims; ``header`` and ``stranger`` as the fake's /__mint takes them."""
        answer = requests.post(f"{self.auth0}/__mint", json={"claims": claims, **more}, timeout=10)
        return Person(self.url, answer.json()["token"])

    def mails(self, to: str | None) -> list[dict[str, Any]]:
        """What the sink has for ``to``, the newest last."""
        return list(requests.get(f"{self.mail_sink}/messages", params={"to": to or ""}, timeout=10).json())

    @cached_property
    def queues(self) -> Redis:
        """The server of the queues, as the workers use it."""
        given = environment.PLATFORM_ENVIRON.get("REDIS_URL")
        return Redis.from_url(given or f"redis://127.0.0.1:{self.stack.port('queue')}/0")

    def kill(self, name: str) -> int:
        """SIGKILL, as soon as the process is there; the supervisor starts it again. Returns the pid that it had."""
        pid = eventually(lambda: self.stack.pids().get(name), f"the process {name}")
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_restart(self, name: str, killed_pid: int, *, seconds: float = 60) -> None:
        """Return when another process than ``killed_pid`` serves as ``name``."""
        eventually(lambda: self.stack.pids().get(name) not in (None, killed_pid), f"a new {name}", seconds=seconds)
        self.wait_until_up(name, seconds=seconds)

    def wait_until_up(self, *names: str, seconds: float = 60) -> None:
        """Return when these can be spoken to; without a name when all of them can, and requests are served."""
        for name in names or [process.name for process in self.stack.processes]:
            self.stack.wait_until_up(name, seconds)
        if not names:
            eventually(lambda: is_ok(f"{self.url}/readyz"), "the gateway", seconds=seconds)

    def wait_until_handled(self, *, seconds: float = 60) -> None:
        """Return when every event has been taken by all that bridge/routes.py names."""
        eventually(lambda: self.unhandled() == 0, "the last event's handler", seconds=seconds)

    def unhandled(self) -> int:
        """How many times an event waits for one of its handlers."""
        return int(self.database.value(_UNHANDLED, routes=json_encoded(ROUTES), days=settings.OUTBOX_RETENTION_DAYS))
