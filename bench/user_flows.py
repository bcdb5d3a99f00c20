"""How long the stories take against a running stack: ``make up RATE_LIMITS=off``, then ``python -m bench.user_flows``.

Prints p50 and p95 in milliseconds of a lesson completion over HTTP at 1 and at 8 clients; of a commit until the mail
that it leads to has been handed to SMTP; of a provider's webhook until it is stored and answered; of a payment until
access, and until the course can be begun; and the memory of all processes of the stack.
"""

import hashlib
import hmac
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import uuid4

import psutil
import requests

import settings
from ops.dev.ports import OFFSETS
from ops.dev.stack import Stack
from settings import PORT_BASE, STATE_DIR

COMPLETIONS = 400
MAILS = 40
PURCHASES = 30
WEBHOOKS = 200


def url(part: str, path: str) -> str:
    return f"http://127.0.0.1:{PORT_BASE + OFFSETS[part]}{path}"


class Client:
    """A learner on one kept-alive connection."""

    def __init__(self) -> None:
        self.email = f"{uuid4().hex[:12]}@bench.test"
        form = {"grant_type": "password", "username": self.email, "password": "demo"}
        token = requests.post(url("auth0", "/oauth/token"), data=form, timeout=10).json()["access_token"]
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {token}"
        self.wait_until(lambda: self.request("GET", "/v1/me")["version"] >= 2)

    def request(self, method: str, path: str, **more: Any) -> Any:
        answer = self.http.request(method, url("gateway", path), timeout=20, **more)
        answer.raise_for_status()
        return answer.json()

    def wait_until(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not done():
            if time.monotonic() > deadline:
                sys.exit("It did not come within 30 s.")
            time.sleep(0.005)

    def wait_until_started(self, course_id: str) -> None:
        self.wait_until(lambda: self.http.get(url("gateway", f"/v1/courses/{course_id}/progress"), timeout=20).ok)

    def wait_until_access(self, course_id: str) -> None:
        self.wait_until(lambda: self.request("GET", f"/v1/me/courses/{course_id}/access")["access"])

    def enroll(self) -> list[str]:
        """In a free course; returns the paths of its lessons' completions."""
        courses = self.request("GET", "/v1/courses?limit=100")["items"]
        free = next(course["id"] for course in courses if course["price"]["amount_minor"] == 0)
        self.request("POST", f"/v1/courses/{free}/enrollments", json={})
        self.wait_until_started(free)
        sections = self.request("GET", f"/v1/courses/{free}")["sections"]
        lessons = [lesson["id"] for section in sections for lesson in section["lessons"]]
        return [f"/v1/courses/{free}/lessons/{lesson}/completion" for lesson in lessons]


def completions(clients: int) -> list[float]:
    """Milliseconds of each of COMPLETIONS requests, most of them of lessons that are newly completed."""
    rounds = COMPLETIONS // clients

    def work(_: int) -> list[float]:
        took: list[float] = []
        while len(took) < rounds:
            learner = Client()
            for path in learner.enroll():
                began = time.perf_counter()
                learner.request("PUT", path)
                took.append((time.perf_counter() - began) * 1000)
        return took

    with ThreadPoolExecutor(clients) as pool:
        return [each for took in pool.map(work, range(clients)) for each in took]


def mails() -> list[float]:
    """Milliseconds from the commit of a completion to the mail sink's receipt of its mail."""
    took: list[float] = []
    while len(took) < MAILS:
        learner = Client()
        # Before them come the welcome, and the welcome to the course.
        for known, path in enumerate(learner.enroll(), start=2):
            mail_number(learner, known)
            committed = time.time()
            learner.request("PUT", path)
            received = mail_number(learner, known + 1)["received_at"]
            took.append((datetime.fromisoformat(received).timestamp() - committed) * 1000)
    return took


def mail_number(learner: Client, count: int) -> dict[str, Any]:
    """The learner's mail of that number, counted from 1, as soon as it is there."""
    learner.wait_until(lambda: len(inbox(learner.email)) >= count)
    return inbox(learner.email)[count - 1]


def inbox(email: str) -> list[dict[str, Any]]:
    return list(requests.get(url("mail-http", "/messages"), params={"to": email}, timeout=10).json())


def webhooks() -> list[float]:
    """Milliseconds from a signed notice of Stripe's to the 200 that says it is stored. It tells of nothing we know."""
    took: list[float] = []
    stripe = requests.Session()
    while len(took) < WEBHOOKS:
        body, at = _webhook_body(), int(time.time())
        mac = hmac.digest(settings.STRIPE_WEBHOOK_SECRETS[0].encode(), f"{at}.".encode() + body, hashlib.sha256)
        headers = {"Stripe-Signature": f"t={at},v1={mac.hex()}", "Content-Type": "application/json"}
        began = time.perf_counter()
        stripe.post(url("gateway", "/v1/webhooks/stripe"), body, headers=headers, timeout=20).raise_for_status()
        took.append((time.perf_counter() - began) * 1000)
    return took


def _webhook_body() -> bytes:
    about = {"id": f"cs_test_{uuid4().hex}", "object": "checkout.session"}
    event = {"id": f"evt_{uuid4().hex}", "object": "event", "type": "checkout.session.completed", "livemode": False}
    return json.dumps({**event, "created": int(time.time()), "data": {"object": about}}).encode()


def purchases() -> tuple[list[float], list[float]]:
    """Milliseconds until access, and until the course's progress is there, since the hosted page said: paid."""
    accessed, begun = [], []
    learner = Client()
    courses = learner.request("GET", "/v1/courses?limit=100")["items"]
    for_sale = [course for course in courses if course["price"]["amount_minor"]]
    while len(accessed) < PURCHASES:
        for course in for_sale[: PURCHASES - len(accessed)]:
            body = {"course_id": course["id"], "provider": "stripe"}
            checkout = learner.request("POST", "/v1/checkouts", json=body, headers={"Idempotency-Key": uuid4().hex})
            requests.post(checkout["redirect_url"], data={"outcome": "succeed"}, timeout=20).raise_for_status()
            began = time.perf_counter()
            learner.wait_until_access(course["id"])
            accessed.append((time.perf_counter() - began) * 1000)
            learner.wait_until_started(course["id"])
            begun.append((time.perf_counter() - began) * 1000)
        learner = Client()
    return accessed, begun


def memory() -> dict[str, float]:
    """MiB of each process of the stack, shared pages counted once."""
    own = {process.pid: process.memory_full_info().pss / 2**20 for process in Stack(STATE_DIR, PORT_BASE).orphans()}
    return {psutil.Process(pid).name() + f" {pid}": mib for pid, mib in own.items()}


def show(what: str, took: list[float]) -> None:
    cuts = statistics.quantiles(took, n=20)
    print(f"{what:<44} n={len(took):<5} p50 {statistics.median(took):7.1f} ms   p95 {cuts[18]:7.1f} ms")


def main() -> None:
    print(f"memory of the stack at rest: {sum(memory().values()):.0f} MiB (proportional set size)")
    show("lesson completion, 1 client", completions(1))
    show("lesson completion, 8 clients", completions(8))
    show("commit of a completion -> mail at SMTP", mails())
    show("provider's webhook stored and answered (30)", webhooks())
    accessed, begun = purchases()
    show("the hosted page says paid -> access (300)", accessed)
    show("the hosted page says paid -> progress", begun)


if __name__ == "__main__":
    main()
