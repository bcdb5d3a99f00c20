"""A running platform for fault injection, and clients that retry until they know the outcome."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode as b64decode
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import requests
from redis import Redis

from core.bus import jobs, operations
from ops.dev.ports import OFFSETS, free_base
from ops.dev.processes import SERVERS
from ops.dev.stack import Stack
from settings import ROOT
from tests.e2e.harness import ScenarioHarness
from tests.support import environment
from tests.support.apache_kafka import ApacheKafka
from tests.support.databases import Database
from tests.support.locks import exclusive_start
from tests.support.platform import Platform
from tests.support.polling import eventually

from . import checker
from .checker import ClientRecord
from .snapshot import lag, take_snapshot, wait_until_idle

Found = TypeVar("Found")

# A killed worker's operation or job resumes when its lease has expired. A shorter limit fails although nothing is lost.
TIMEOUT_SECONDS = 120 + max(operations.LEASE, jobs.LEASE).total_seconds()


class ChaosPlatform:
    def __init__(self, platform: Platform, kafka: ApacheKafka | None = None) -> None:
        """Wrap ``platform``; ``kafka`` is given only if it replaces the embedded broker."""
        self.platform = platform
        self.kafka = kafka
        self.harness = ScenarioHarness(platform)

    @classmethod
    def from_stack(cls, stack: Stack, kafka: ApacheKafka | None = None) -> "ChaosPlatform":
        """Create the platform for a separate stack, not the one of the test run."""
        platform = Platform(stack)
        platform.database = Database(f"postgresql+psycopg2://coursebus@127.0.0.1:{stack.port('postgres')}/coursebus")
        platform.queues = Redis.from_url(f"redis://127.0.0.1:{stack.port('queue')}/0")
        return cls(platform, kafka)

    @cached_property
    def courses(self) -> list[dict[str, Any]]:
        def listed() -> list[dict[str, Any]]:
            response = self.harness.visitor().get("/v1/courses?limit=100")
            return list(response.json()["items"]) if response.status_code == 200 else []

        return retry(listed)

    @property
    def free_courses(self) -> list[dict[str, Any]]:
        return [course for course in self.courses if course["price"]["amount_minor"] == 0]

    @property
    def paid_courses(self) -> list[dict[str, Any]]:
        return [
            course
            for course in self.courses
            if course["price"]["amount_minor"] and course["price"]["currency"] == "USD"
        ]

    def arm(self, point: str, *, victim: str | None = None) -> None:
        """Kill the process that reaches ``point`` next, or the process ``victim`` instead."""
        self.disarm()
        armed = self.platform.stack.state_dir / "fault"
        written = armed.with_suffix(".new")
        written.write_text(point + (f"\n{self.pid(victim)}" if victim else ""))
        written.rename(armed)

    def disarm(self) -> None:
        for name in ("fault", "fault.triggered"):
            (self.platform.stack.state_dir / name).unlink(missing_ok=True)

    @property
    def has_triggered(self) -> bool:
        return (self.platform.stack.state_dir / "fault.triggered").exists()

    def pid(self, name: str) -> int:
        return retry(lambda: self.platform.stack.pids().get(name) or 0)

    def kill(self, name: str) -> None:
        """Kill a process with SIGKILL; the supervisor starts it again."""
        if name == "kafka" and self.kafka:
            self.kafka.restart()
            return
        with suppress(ProcessLookupError):
            os.kill(self.pid(name), signal.SIGKILL)

    def restart(self, *names: str) -> None:
        """Kill these processes; return when new ones run, even if they are not ready."""
        killed = {name: self.pid(name) for name in names}
        for name in names:
            self.kill(name)
        for name, pid in killed.items():
            retry(lambda name=name, pid=pid: self.pid(name) != pid)  # type: ignore[misc]

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Stop the process with SIGSTOP within the block, as on a machine that swaps."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def stopped(self, name: str, *, seconds: float) -> Iterator[None]:
        """Stop the process; start it again after ``seconds``, or after the block if that takes longer."""
        back_at = time.monotonic() + seconds
        self.platform.stack.supervisor.stop([name], timeout_seconds=30)
        try:
            yield
            time.sleep(max(back_at - time.monotonic(), 0))
        finally:
            self.platform.stack.supervisor.start([name])

    @contextmanager
    def extra_process(self, module: str) -> Iterator["ExtraProcess"]:
        """Run an additional process of ``python -m module`` beside the one of the supervisor."""
        path = self.platform.stack.supervisor.logs / f"another-{module.split(maxsplit=1)[0]}-{uuid4().hex[:8]}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *module.split()],
                env=self.platform.stack.environ,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
            try:
                yield ExtraProcess(process, path)
            finally:
                process.kill()
                process.wait()

    def wipe_kafka(self) -> None:
        """Delete the log of the broker. The embedded broker keeps it in memory, so a restart is enough."""
        if self.kafka:
            self.kafka.wipe()
        else:
            self.kill("kafka")

    def is_all_committed(self, service: str) -> bool:
        """Return whether the group of ``service`` has committed the offsets of all records."""
        return not lag(self.platform, service)

    def wait_until_idle(self, users: Collection[str] = (), *, seconds: float = TIMEOUT_SECONDS) -> float:
        return wait_until_idle(self.platform, users, seconds=seconds)

    def findings(self, records: Collection[ClientRecord], *, users: Collection[str] = ()) -> list[checker.Finding]:
        """Return the findings of the checker, limited to ``users`` if any are given."""
        reading = take_snapshot(self.platform)
        return checker.findings(reading.for_users(users) if users else reading, records)


@contextmanager
def running_chaos_platform(*, apache: bool = False, **environ: str) -> Iterator[ChaosPlatform]:
    """Run a separate stack with the embedded broker or Apache Kafka; ``environ`` overrides the environment of tests."""
    state_dir = Path(tempfile.mkdtemp(prefix="coursebus-chaos-"))
    state_dir.chmod(0o711)  # PostgreSQL does not run as root and must be able to traverse it
    base = free_base()
    kafka = ApacheKafka(state_dir, base + OFFSETS["kafka"]) if apache else None
    servers = {"KAFKA_BOOTSTRAP_SERVERS": kafka.address} if kafka else {}
    # The stack starts its own servers, so remove the URLs of the servers of the test run.
    given = {
        name: value for name, value in environment.PLATFORM_ENVIRON.items() if not name.endswith(("_URL", "_SERVERS"))
    }
    stack = Stack(state_dir, base, environ={**given, "RATE_LIMITS": "off", **servers, **environ})
    stack.processes = [
        process for process in stack.processes if process.name not in {"flower", "web"}
    ]  # not needed here
    try:
        with exclusive_start():
            stack.start(SERVERS)
            if kafka:
                kafka.start()
            stack.start_remaining()
        chaos_platform = ChaosPlatform.from_stack(stack, kafka)
        chaos_platform.wait_until_idle()  # until every service has handled the events of the courses
        yield chaos_platform
    finally:
        stack.kill()
        if kafka:
            kafka.stop()
        stack.delete()
        shutil.rmtree(state_dir, ignore_errors=True)


@dataclass(frozen=True)
class ExtraProcess:
    process: subprocess.Popen[bytes]
    path: Path

    def log(self) -> str:
        return self.path.read_text(errors="replace")


def retry(check: Callable[[], Found]) -> Found:
    return eventually(check, seconds=TIMEOUT_SECONDS)


@dataclass
class Learner:
    """A client that repeats commands with the same Idempotency-Key until it knows the outcome, and records it."""

    chaos_platform: ChaosPlatform
    records: list[ClientRecord] = field(default_factory=list)
    user_id: str = ""
    course_id: str = ""

    def __post_init__(self) -> None:
        self.visitor = retry(self.chaos_platform.harness.learner)

    def register(self) -> "Learner":
        """Sign in for the first time; return when the profile exists."""
        me = self._until({200}, lambda: self.visitor.get("/v1/me")).json()
        self.user_id = me["id"]
        self._record("registered")
        return self

    def enrol(self, course_id: str) -> None:
        """Enrol in a free course; return when its progress exists."""
        path, key = f"/v1/courses/{course_id}/enrollments", uuid4().hex
        self._until({200, 201}, lambda: self.visitor.post(path, {}, key=key))
        self._record("enrolled", course_id=course_id)
        self.course_id = course_id
        self.await_access(course_id)

    def await_access(self, course_id: str) -> None:
        self._until({200}, lambda: self.visitor.get(f"/v1/courses/{course_id}/progress"), but={404})

    def complete(self, course_id: str, lesson_id: str) -> None:
        self._until({200}, lambda: self.visitor.put(_completion(course_id, lesson_id)))
        self._record("completed", course_id=course_id, lesson_id=lesson_id)

    def complete_async(self, course_id: str, lesson_id: str) -> None:
        """Complete a lesson by an operation; return when the operation has succeeded."""
        key, send = uuid4().hex, self.visitor.person.send
        prefer = {"Prefer": "respond-async", "Idempotency_Key": key}
        accepted = self._until({202}, lambda: send("PUT", _completion(course_id, lesson_id), **prefer))
        retry(lambda: self.visitor.get(accepted.headers["Location"]).json().get("status") == "succeeded")
        self._record("completed", course_id=course_id, lesson_id=lesson_id)

    def check_out(self, course_id: str) -> dict[str, Any]:
        body, self.key = {"course_id": course_id, "provider": "stripe"}, uuid4().hex
        opened = self._until({201}, lambda: self.visitor.post("/v1/checkouts", body, key=self.key)).json()
        self._record("ordered", course_id=course_id, order_id=opened["order_id"])
        return dict(opened)

    def buy(self, course_id: str) -> dict[str, Any]:
        """Pay on the checkout session; return the checkout when the learner has access."""
        checkout = self.pay_for(course_id)
        self.await_access(course_id)
        return checkout

    def pay_for(self, course_id: str) -> dict[str, Any]:
        """Pay on the checkout session without waiting for access; return the checkout."""
        checkout = self.check_out(course_id)
        self._pay(checkout, "succeed")
        self._record("paid", course_id=course_id, order_id=checkout["order_id"])
        return checkout

    def get_refund(self, order_id: str, amount_minor: int | None = None) -> None:
        """Refund a part of the order as an administrator, or everything that is left."""
        admin = retry(lambda: self.chaos_platform.platform.person("admin@demo.test"))
        wanted = {"reason": "the storm", **({"amount_minor": amount_minor} if amount_minor else {})}
        path, key = f"/v1/orders/{order_id}/refunds", uuid4().hex
        refund = self._until({201}, lambda: admin.post(path, wanted, Idempotency_Key=key)).json()
        self._record("refunded", order_id=order_id, refund_id=refund["id"], amount_minor=refund["amount_minor"])

    def await_access_end(self, course_id: str) -> None:
        """Wait until access has ended."""
        self._until({404}, lambda: self.visitor.get(f"/v1/courses/{course_id}/progress"), but={200})

    def pay_with_declined_card(self, course_id: str) -> None:
        checkout = self.check_out(course_id)
        self._pay(checkout, "decline")
        self._record("refused payment", course_id=course_id, order_id=checkout["order_id"])

    def _pay(self, checkout: dict[str, Any], outcome: str) -> None:
        retry(lambda: [self.chaos_platform.harness.pay(checkout["redirect_url"], outcome)])

    def reuse_idempotency_key(self, course_id: str) -> None:
        """Order another course with the key of the last checkout, which is rejected."""
        body = {"course_id": course_id, "provider": "stripe"}
        self._until({422}, lambda: self.visitor.post("/v1/checkouts", body, key=self.key))
        self._record("refused order", course_id=course_id)

    def access_without_enrollment(self, course_id: str) -> None:
        """Complete a lesson of a course without enrolment, which is rejected."""
        lesson_id = self.lessons(course_id)[0]
        self._until({403}, lambda: self.visitor.put(_completion(course_id, lesson_id)))
        self._record("refused completion", course_id=course_id, lesson_id=lesson_id)

    def create_course(self, title: str) -> None:
        """Create a course and repeat the request, as if the response had been lost."""
        claims = json.loads(b64decode(self.visitor.person.token.split(".")[1] + "=="))
        author = retry(
            lambda: self.chaos_platform.platform.client_with_claims({**claims, "permissions": ["courses:write"]})
        )
        key, free = uuid4().hex, {"amount_minor": 0, "currency": "USD"}
        course = {"title": title, "category": "history", "level": "beginner", "language": "en", "price": free}
        responses = [
            self._until({201}, lambda: author.send("POST", "/v1/courses", course, Idempotency_Key=key))
            for _ in range(2)
        ]
        assert responses[0].json() == responses[1].json(), "the repeated request got a different response"
        self._record("written", course_id=responses[0].json()["id"])

    def course(self, course_id: str) -> dict[str, Any]:
        return dict(self._until({200}, lambda: self.visitor.get(f"/v1/courses/{course_id}")).json())

    def lessons(self, course_id: str) -> list[str]:
        return [lesson["id"] for section in self.course(course_id)["sections"] for lesson in section["lessons"]]

    def _record(self, what: str, **ids: Any) -> None:
        self.records.append(ClientRecord(what=what, user_id=self.user_id, **ids))

    def _until(
        self, wanted: set[int], ask: Callable[[], requests.Response], *, but: Collection[int] = ()
    ) -> requests.Response:
        """Repeat the request until its status is in ``wanted``.

        A status that is not retryable either fails the test.
        """

        def responses() -> list[requests.Response]:  # a list, because an error response itself is false
            response = ask()
            assert response.status_code in {*wanted, *but, 409, 429, 502, 503, 504}, response.text
            return [response] if response.status_code in wanted else []

        return retry(responses)[0]


def _completion(course_id: str, lesson_id: str) -> str:
    return f"/v1/courses/{course_id}/lessons/{lesson_id}/completion"
