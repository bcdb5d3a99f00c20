"""Harness of the end-to-end scenarios: catalogue, checkout sessions, mailboxes, faults."""

import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import requests

from tests.support.platform import Person, Platform
from tests.support.polling import TIMEOUT_SECONDS, eventually

_MIN_LESSONS = 3


def problem(response: requests.Response) -> tuple[int, str]:
    """Return status and code of a problem response."""
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["X-Request-Id"]
    return body["status"], body["code"]


class ScenarioHarness:
    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def visitor(self) -> "Visitor":
        return Visitor(self, self.platform.anonymous)

    def learner(self) -> "Visitor":
        """Return a visitor with a new account."""
        return Visitor(self, self.platform.person())

    def visitor_with_claims(self, claims: dict[str, Any], header: dict[str, Any]) -> "Visitor":
        """Return a visitor whose token has exactly these claims, signed with Auth0's valid key."""
        return Visitor(self, self.platform.client_with_claims(claims, header=header))

    def courses(self, **query: Any) -> list[dict[str, Any]]:
        answer = self.visitor().get("/v1/courses?" + urlencode({"limit": 100, **query}))
        return list(answer.json()["items"])

    def paid_course(self, currency: str = "USD", *, has_quiz: bool | None = None) -> dict[str, Any]:
        """Return a course on sale for money, by default with or without a quiz."""
        return next(
            course
            for course in self.courses()
            if course["price"]["amount_minor"]
            and course["price"]["currency"] == currency
            and (has_quiz is None or has_quiz == ("quiz" in self._kinds(course["id"])))
        )

    def free_course(self) -> dict[str, Any]:
        """Return a free course with several lessons and no quiz.

        Completing its lessons completes it. Other scenarios publish short courses and quizzes.
        """
        free = [course for course in self.courses() if course["price"]["amount_minor"] == 0]
        long = (course for course in free if course["lessons_total"] >= _MIN_LESSONS)
        return next(course for course in long if "quiz" not in self._kinds(course["id"]))

    def _kinds(self, course_id: str) -> set[str]:
        sections = self.visitor().get(f"/v1/courses/{course_id}").json()["sections"]
        return {lesson["kind"] for section in sections for lesson in section["lessons"]}

    def pay(self, page_url: str, outcome: str = "succeed") -> requests.Response:
        """Pay, or decline, at the provider's checkout session."""
        return requests.post(page_url, data={"outcome": outcome}, timeout=10)

    def charges(self, order_id: str) -> list[dict[str, Any]]:
        """Return the payments of an order that the providers have captured or authorized."""
        states = [
            requests.get(f"{provider}/__state", timeout=5).json()
            for provider in (self.platform.stripe, self.platform.yookassa)
        ]
        return [payment for state in states for payment in state["payments"] if payment["order_id"] == order_id]

    def faults(self, *, at: str | None = None, **faults: Any) -> dict[str, Any]:
        """Configure the faults of a fake, by default Stripe's."""
        answer = requests.post(f"{at or self.platform.stripe}/__faults", json=faults, timeout=5)
        answer.raise_for_status()
        return dict(answer.json())


class Visitor:
    """A client with or without a token."""

    def __init__(self, harness: ScenarioHarness, person: Person) -> None:
        self.harness = harness
        self.person = person

    def get(self, path: str, **headers: str) -> requests.Response:
        """Send a GET, and retry it while the gateway is unavailable."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (answer := self.person.get(path, **headers)).status_code in {503, 504} and time.monotonic() < deadline:
            time.sleep(0.05)
        return answer

    def put(self, path: str) -> requests.Response:
        return self.person.put(path)

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> requests.Response:
        return self.person.send("POST", path, body, **({"Idempotency_Key": key} if key else {}))

    def profile(self) -> dict[str, Any]:
        """Return GET /v1/me once the profile has been saved (its second version)."""
        return eventually(lambda: (me := self.get("/v1/me").json()).get("version", 0) >= 2 and me)

    def check_out(self, course_id: str, *, provider: str = "stripe", key: str | None = None) -> dict[str, Any]:
        """Start a checkout, repeated with the same key until it succeeds."""
        key = key or uuid4().hex
        body = {"course_id": course_id, "provider": provider}

        def opened() -> Any:
            answer = self.post("/v1/checkouts", body, key=key)
            assert answer.status_code in {201, 409, 503, 504}, answer.text
            return answer.status_code == 201 and answer.json()

        return dict(eventually(opened))

    def progress(self, course_id: str) -> dict[str, Any] | None:
        answer = self.get(f"/v1/courses/{course_id}/progress")
        return answer.json() if answer.status_code == 200 else None

    def complete(self, course_id: str, lesson_id: str) -> dict[str, Any]:
        """Complete a lesson, repeated until it succeeds."""

        def completed() -> Any:
            answer = self.put(f"/v1/courses/{course_id}/lessons/{lesson_id}/completion")
            assert answer.status_code in {200, 503, 504}, answer.text
            return answer.status_code == 200 and answer.json()

        return dict(eventually(completed))

    def lessons(self, course_id: str) -> list[str]:
        outline = self.get(f"/v1/courses/{course_id}").json()
        return [lesson["id"] for section in outline["sections"] for lesson in section["lessons"]]

    def enroll_in_free_course(self) -> "tuple[Visitor, str]":
        """Enrol in a free course; returns the visitor and the course's id once progress exists."""
        course = self.harness.free_course()
        self.profile()
        answer = self.post(f"/v1/courses/{course['id']}/enrollments", {})
        assert answer.status_code in {200, 201}, answer.text
        eventually(lambda: self.progress(course["id"]))
        return self, course["id"]

    def subjects(self) -> list[str]:
        return sorted(mail["subject"] for mail in self.harness.platform.mails(self.person.email))

    def notification_events(self) -> list[str]:
        answer = self.get("/v1/me/notifications?limit=100")
        # The inbox is unavailable while its worker is down.
        notes = answer.json()["items"] if answer.status_code == 200 else []
        return sorted(note["data"]["event"] for note in notes)

    def wait_for_notifications(self, events: Iterable[str], *, mails: int) -> None:
        """Wait for exactly these notifications in the inbox, and for this number of mails."""
        expected = sorted(events)
        eventually(lambda: self.notification_events() == expected and len(self.subjects()) == mails)
