"""Measure user flows against a running stack: ``make up RATE_LIMITS=off``, then ``python -m bench.user_flows``.

Prints p50 and p95 in milliseconds of a lesson completion over HTTP with 1 and with 8 clients; from the commit of a
completion to the delivery of its mail over SMTP; of a provider's webhook until it is stored and answered; from a
payment to access and to the first progress; and the memory of all processes of the stack.
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
    """A learner on one keep-alive connection."""

    def __init__(self) -> None:
        self.email = f"{uuid4().hex[:12]}@bench.test"
        form = {"grant_type": "password", "username": self.email, "password": "demo"}
        token = requests.post(url("auth0", "/oauth/token"), data=form, timeout=10).json()["access_token"]
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {token}"
        self.wait_until(lambda: self.request("GET", "/v1/me")["version"] >= 2)

    def request(self, method: str, path: str, **more: Any) -> Any:
        response = self.http.request(method, url("gateway", path), timeout=20, **more)
        response.raise_for_status()
        return response.json()

    def wait_until(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not done():
            if time.monotonic() > deadline:
                sys.exit("Condition not met within 30 s.")
            time.sleep(0.005)

    def wait_until_started(self, course_id: str) -> None:
        self.wait_until(lambda: self.http.get(url("gateway", f"/v1/courses/{course_id}/progress"), timeout=20).ok)

    def wait_until_access(self, course_id: str) -> None:
        self.wait_until(lambda: self.request("GET", f"/v1/me/courses/{course_id}/access")["access"])

    def enroll(self) -> list[str]:
        """Enrol in a free course; return the completion paths of its lessons."""
        courses = self.request("GET", "/v1/courses?limit=100")["items"]
        free = next(course["id"] for course in courses if course["price"]["amount_minor"] == 0)
        self.request("POST", f"/v1/courses/{free}/enrollments", json={})
        self.wait_until_started(free)
        sections = self.request("GET", f"/v1/courses/{free}")["sections"]
        lessons = [lesson["id"] for section in sections for lesson in section["lessons"]]
        return [f"/v1/courses/{free}/lessons/{lesson}/completion" for lesson in lessons]


def completions(clients: int) -> list[float]:
    """Return the milliseconds of each of COMPLETIONS requests, most of which complete a lesson for the first time."""
    rounds = COMPLETIONS // clients

    def work(_: int) -> list[float]:
        durations: list[float] = []
        while len(durations) < rounds:
            learner = Client()
            for path in learner.enroll():
                began = time.perf_counter()
                learner.request("PUT", path)
                durations.append((time.perf_counter() - began) * 1000)
        return durations

    with ThreadPoolExecutor(clients) as pool:
        return [each for durations in pool.map(work, range(clients)) for each in durations]


def mails() -> list[float]:
    """Return the milliseconds from the commit of each completion to the receipt of its mail by the mail sink."""
    durations: list[float] = []
    while len(durations) < MAILS:
        learner = Client()
        # Two mails come first: the welcome and the confirmation of the enrolment.
        for known, path in enumerate(learner.enroll(), start=2):
            mail_number(learner, known)
            committed = time.time()
            learner.request("PUT", path)
            received = mail_number(learner, known + 1)["received_at"]
            durations.append((datetime.fromisoformat(received).timestamp() - committed) * 1000)
    return durations


def mail_number(learner: Client, count: int) -> dict[str, Any]:
    """Wait for the learner's mail number ``count``, counted from 1, and return it."""
    learner.wait_until(lambda: len(inbox(learner.email)) >= count)
    return inbox(learner.email)[count - 1]


def inbox(email: str) -> list[dict[str, Any]]:
    return list(requests.get(url("mail-http", "/messages"), params={"to": email}, timeout=10).json())


def webhooks() -> list[float]:
    """Return the milliseconds from a signed Stripe webhook to its 200, which confirms that it is stored.

    The webhooks refer to unknown checkout sessions.
    """
    durations: list[float] = []
    stripe = requests.Session()
    while len(durations) < WEBHOOKS:
        body, at = _webhook_body(), int(time.time())
        mac = hmac.digest(settings.STRIPE_WEBHOOK_SECRETS[0].encode(), f"{at}.".encode() + body, hashlib.sha256)
        headers = {"Stripe-Signature": f"t={at},v1={mac.hex()}", "Content-Type": "application/json"}
        began = time.perf_counter()
        stripe.post(url("gateway", "/v1/webhooks/stripe"), body, headers=headers, timeout=20).raise_for_status()
        durations.append((time.perf_counter() - began) * 1000)
    return durations


def _webhook_body() -> bytes:
    about = {"id": f"cs_test_{uuid4().hex}", "object": "checkout.session"}
    event = {"id": f"evt_{uuid4().hex}", "object": "event", "type": "checkout.session.completed", "livemode": False}
    return json.dumps({**event, "created": int(time.time()), "data": {"object": about}}).encode()


def purchases() -> tuple[list[float], list[float]]:
    """Return the milliseconds from payment on the checkout session to access, and to the first progress."""
    accessed, progressed = [], []
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
            progressed.append((time.perf_counter() - began) * 1000)
        learner = Client()
    return accessed, progressed


def memory() -> dict[str, float]:
    """Return the MiB of each process of the stack, with shared pages divided between them."""
    own = {process.pid: process.memory_full_info().pss / 2**20 for process in Stack(STATE_DIR, PORT_BASE).orphans()}
    return {psutil.Process(pid).name() + f" {pid}": mib for pid, mib in own.items()}


def show(what: str, durations: list[float]) -> None:
    cuts = statistics.quantiles(durations, n=20)
    print(f"{what:<44} n={len(durations):<5} p50 {statistics.median(durations):7.1f} ms   p95 {cuts[18]:7.1f} ms")


def main() -> None:
    print(f"memory of the stack at rest: {sum(memory().values()):.0f} MiB (proportional set size)")
    show("lesson completion, 1 client", completions(1))
    show("lesson completion, 8 clients", completions(8))
    show("commit of a completion -> mail at SMTP", mails())
    show("provider's webhook stored and answered (30)", webhooks())
    accessed, progressed = purchases()
    show("paid on the checkout session -> access (300)", accessed)
    show("paid on the checkout session -> progress", progressed)


if __name__ == "__main__":
    main()
