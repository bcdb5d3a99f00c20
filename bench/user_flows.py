"""Measure user flows against a running stack: ``make up RATE_LIMITS=off``, then ``python -m bench.user_flows``.

Prints p50 and p95 in milliseconds from the commit of a completion to the delivery of its mail over SMTP; of a
provider's webhook until it is stored and answered; from a payment to access and to the first progress.
"""

import hashlib
import hmac
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import requests

import settings
from bench.clients import Client
from ops.dev.ports import OFFSETS
from settings import PORT_BASE

COMPLETIONS = 400
MAILS = 40
PURCHASES = 30
WEBHOOKS = 200


def url(part: str, path: str) -> str:
    return f"http://127.0.0.1:{PORT_BASE + OFFSETS[part]}{path}"


class Learner(Client):
    """A client of the running stack."""

    def __init__(self) -> None:
        self.email = f"{uuid4().hex[:12]}@bench.test"
        super().__init__(url("gateway", ""), url("auth0", ""), self.email)
        self.wait_until(lambda: self.require("GET", "/v1/me")["version"] >= 2)

    def wait_until(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not done():
            if time.monotonic() > deadline:
                sys.exit("Condition not met within 30 s.")
            time.sleep(0.005)

    def wait_until_started(self, course_id: str) -> None:
        self.wait_until(lambda: self.send("GET", f"/v1/courses/{course_id}/progress")[0] == 200)

    def wait_until_access(self, course_id: str) -> None:
        self.wait_until(lambda: self.require("GET", f"/v1/me/courses/{course_id}/access")["access"])

    def enroll(self) -> list[str]:
        """Enrol in a free course; return the completion paths of its lessons."""
        courses = self.require("GET", "/v1/courses?limit=100")["items"]
        free = next(course["id"] for course in courses if course["price"]["amount_minor"] == 0)
        self.require("POST", f"/v1/courses/{free}/enrollments", {})
        self.wait_until_started(free)
        sections = self.require("GET", f"/v1/courses/{free}")["sections"]
        lessons = [lesson["id"] for section in sections for lesson in section["lessons"]]
        return [f"/v1/courses/{free}/lessons/{lesson}/completion" for lesson in lessons]


def mails() -> list[float]:
    """Return the milliseconds from the commit of each completion to the receipt of its mail by the mail sink."""
    durations: list[float] = []
    while len(durations) < MAILS:
        learner = Learner()
        # Two mails come first: the welcome and the confirmation of the enrolment.
        for known, path in enumerate(learner.enroll(), start=2):
            mail_number(learner, known)
            committed = time.time()
            learner.require("PUT", path)
            received = mail_number(learner, known + 1)["received_at"]
            durations.append((datetime.fromisoformat(received).timestamp() - committed) * 1000)
    return durations


def mail_number(learner: Learner, count: int) -> dict[str, Any]:
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
    learner = Learner()
    courses = learner.require("GET", "/v1/courses?limit=100")["items"]
    for_sale = [course for course in courses if course["price"]["amount_minor"]]
    while len(accessed) < PURCHASES:
        for course in for_sale[: PURCHASES - len(accessed)]:
            body = {"course_id": course["id"], "provider": "stripe"}
            checkout = learner.require("POST", "/v1/checkouts", body, headers={"Idempotency-Key": uuid4().hex})
            requests.post(checkout["redirect_url"], data={"outcome": "succeed"}, timeout=20).raise_for_status()
            began = time.perf_counter()
            learner.wait_until_access(course["id"])
            accessed.append((time.perf_counter() - began) * 1000)
            learner.wait_until_started(course["id"])
            progressed.append((time.perf_counter() - began) * 1000)
        learner = Learner()
    return accessed, progressed


def show(what: str, durations: list[float]) -> None:
    cuts = statistics.quantiles(durations, n=20)
    print(f"{what:<44} n={len(durations):<5} p50 {statistics.median(durations):7.1f} ms   p95 {cuts[18]:7.1f} ms")


def main() -> None:
    show("commit of a completion -> mail at SMTP", mails())
    show("provider's webhook stored and answered (30)", webhooks())
    accessed, progressed = purchases()
    show("paid on the checkout session -> access (300)", accessed)
    show("paid on the checkout session -> progress", progressed)


if __name__ == "__main__":
    main()
