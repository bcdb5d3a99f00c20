"""Add demo people with orders, progress and messages: ``python -m ops.dev.demo_people``.

Each person of people.toml does their steps over the public API of the running stack, like the pages would. A second run
continues where the first one stopped, because every step looks first whether it was done.
"""

import os
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests
from coursebus import Coursebus, errors, models

from ops.dev.demo import PEOPLE_PENDING
from ops.dev.ports import OFFSETS
from ops.fakes.auth0.demo_users import PASSWORD
from settings import PORT_BASE, STATE_DIR

T = TypeVar("T")

ADMIN = "admin@demo.test"
_PATH = Path(__file__).with_name("people.toml")
_WAIT_SECONDS = 60  # for the effects of an event, on a slow machine


def people() -> list[dict[str, Any]]:
    """Return the demo people with their steps."""
    found: list[dict[str, Any]] = tomllib.loads(_PATH.read_text())["people"]
    return found


@dataclass(frozen=True)
class Tenant:
    """The addresses of a stack, where people sign in with the password of the demo users."""

    api: str
    auth: str

    def sign_in(self, email: str) -> Coursebus:
        """Return a client with a token of a user, who is created by the first request."""
        form = {"grant_type": "password", "username": email, "password": PASSWORD}
        response = requests.post(f"{self.auth}/oauth/token", data=form, timeout=30)
        response.raise_for_status()
        return Coursebus(self.api, token=response.json()["access_token"])


class Story:
    """The steps of one person."""

    def __init__(self, person: dict[str, Any], client: Coursebus, staff: Coursebus) -> None:
        self.person = person
        self.client = client
        self.staff = staff

    def play(self) -> None:
        """Do all steps that were not done before."""
        profile = self.client.get_profile()
        wanted = {"name": self.person["name"], "locale": self.person.get("locale", "en")}
        if (profile.name, profile.locale) != (wanted["name"], wanted["locale"]):
            until(lambda: self._rename(wanted))
        for number, step in enumerate(self.person["steps"]):
            self._do(step, key=f"demo-{self.person['email']}-{number}")

    def _rename(self, wanted: dict[str, str]) -> bool:
        try:
            self.client.update_profile(models.ProfileChanges(**wanted), if_match=self.client.get_profile())
        except (errors.Unavailable, errors.PreconditionFailed):  # an event is initialising the profile of a new user
            return False
        return True

    def _do(self, step: dict[str, Any], *, key: str) -> None:
        if plan := step.get("subscribe"):
            self._subscribe(plan, step, key)
            return
        course = self.client.get_course(step.get("buy") or step.get("enroll") or step["grant"])
        if "buy" in step:
            self._buy(course.id, step, key)
        elif "enroll" in step:
            self.client.create_enrollment(course.id)
        else:
            self.staff.grant_access(self.client.get_profile().id, models.AccessGrant(course_id=course.id))
        if "lessons" in step and "refund" not in step:  # a refund ends the access
            self._learn(course.id, step["lessons"])
        if review := step.get("review"):
            self.client.put_review(course.id, models.ReviewFields(**review))

    def _buy(self, course_id: str, step: dict[str, Any], key: str) -> None:
        """Order a course, and pay for it unless the page stays open or the bank declines."""
        if any(each.paid_at for each in self._orders(course_id)):
            return
        coupon = {"coupon": step["coupon"]} if "coupon" in step else {}
        body = models.CheckoutRequest(course_id=course_id, provider=step.get("provider", "stripe"), **coupon)
        checkout = self.client.create_checkout(body, idempotency_key=key)
        outcome = step.get("outcome", "succeed")
        if outcome != "leave":
            self._pay(checkout, outcome)
        if outcome != "succeed":
            return
        paid = until(
            lambda: [each for each in self.client.list_own_orders() if each.paid_at and each.course_id == course_id]
        )
        if reason := step.get("refund"):
            self._learn(course_id, step.get("lessons", 0))
            self.staff.create_refund(paid[0].id, models.RefundRequest(reason=reason), idempotency_key=f"{key}-refund")

    def _orders(self, course_id: str) -> list[models.Order]:
        return [each for each in self.client.list_own_orders() if each.course_id == course_id]

    def _subscribe(self, name: str, step: dict[str, Any], key: str) -> None:
        if self.client.list_own_subscriptions().page().items:
            return
        [plan] = [each for each in self.client.list_plans() if each.name == name]
        body = models.CheckoutRequest(plan_id=plan.id, provider=step.get("provider", "stripe"))
        self._pay(self.client.create_checkout(body, idempotency_key=key), "succeed")
        until(lambda: [each for each in self.client.list_own_subscriptions() if each.status in {"active", "trialing"}])

    @staticmethod
    def _pay(checkout: models.Checkout, outcome: str) -> None:
        """Send the form of the fake's payment page."""
        if checkout.redirect_url:
            requests.post(checkout.redirect_url, data={"outcome": outcome}, timeout=30).raise_for_status()

    def _has_access(self, course_id: str) -> bool:
        return self.client.get_own_access(course_id).access

    def _learn(self, course_id: str, count: int) -> None:
        """Complete the first lessons of a course, all for -1, until ``count`` are completed or a quiz follows."""
        until(lambda: self._has_access(course_id))
        page = until(lambda: self._page(course_id))
        lessons = [lesson for section in page.sections for lesson in section.lessons]
        for lesson in lessons if count < 0 else lessons[:count]:
            if lesson.kind == "quiz":
                return
            if lesson.completed_at is None:
                self.client.complete_lesson(course_id, lesson.id)

    def _page(self, course_id: str) -> models.LearnerCourse | None:
        try:
            return self.client.get_own_course(course_id)
        except (errors.Forbidden, errors.Unavailable):  # the access is on its way
            return None


def until(read: Callable[[], T | None]) -> T:
    """Return the first result of ``read`` that is true. Raises TimeoutError."""
    end = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < end:
        if result := read():
            return result
        time.sleep(0.2)
    raise TimeoutError("The stack did not finish a step of the demo people in time.")


def add_people(tenant: Tenant) -> int:
    """Let all demo people do their steps, two at a time. Return how many there are."""
    found = people()

    def play(person: dict[str, Any]) -> None:
        with tenant.sign_in(person["email"]) as client, tenant.sign_in(ADMIN) as staff:
            Story(person, client, staff).play()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(play, found))
    return len(found)


def main() -> None:
    """Add the people to the local stack."""
    os.nice(10)  # requests of the pages come first
    local = [f"http://127.0.0.1:{PORT_BASE + OFFSETS[name]}" for name in ("gateway", "auth0")]
    print(f"{add_people(Tenant(*local))} demo people have orders and progress")
    (STATE_DIR / PEOPLE_PENDING).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
