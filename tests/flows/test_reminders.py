"""What time alone brings: a pause, a streak, a checkout left open, a trial that ends: told once, if it is so still."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import uuid4

import pytest
import requests

from .shop import Shop, Visitor, eventually
from .test_notifications import mail_of, told
from .test_subscriptions import make_plan

pytestmark = pytest.mark.flow

DAY = timedelta(days=1)


class Clock:
    """The clock of the stack, and the jobs that it would start."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def advanced_seconds(self) -> float:
        return float(requests.get(f"{self.origin}/__clock", timeout=5).json()["advanced_seconds"])

    def advance(self, seconds: float) -> None:
        requests.post(f"{self.origin}/__clock", json={"advance_seconds": seconds}, timeout=5).raise_for_status()

    def set(self, to: datetime) -> None:
        """Forward or back, counted from the true present."""
        self.advance((to - datetime.now(UTC)).total_seconds() - self.advanced_seconds())

    def run(self, job: str, *, times: int = 1) -> None:
        for _ in range(times):
            assert requests.post(f"{self.origin}/__jobs/{job}/run", timeout=40).json()["finished"]


@pytest.fixture
def clock(shop: Shop) -> Iterator[Clock]:
    """Right when a story begins, and what it was for the others when it has ended."""
    clock = Clock(shop.platform.clock)
    before = clock.advanced_seconds()
    clock.advance(-before)
    yield clock
    clock.advance(before - clock.advanced_seconds())


def morning(days: int) -> datetime:
    """Ten o'clock, so many whole days from now at the earliest."""
    at = datetime.now(UTC) + days * DAY
    ten = datetime.combine(at.date(), time(10), UTC)
    return ten if ten >= at else ten + DAY


def remind(clock: Clock) -> None:
    """What the clock would start every ten minutes, twice."""
    clock.run("notifications.look_for_reminders", times=2)


def reminders(learner: Visitor) -> list[dict[str, Any]]:
    """The notes of reminders, the oldest first."""
    notes = learner.get("/v1/me/notifications?limit=100").json()["items"]
    return [note["data"] for note in reversed(notes) if note["data"]["event"] == "REMINDER"]


def mails_of(learner: Visitor, words: str) -> int:
    return sum(words in subject for subject in learner.subjects())


def test_a_pause_is_told_of_once_and_by_no_mail_after_unsubscribing(shop: Shop, clock: Clock) -> None:
    learner, course_id = shop.learner().enrolled()
    title = shop.visitor().get(f"/v1/courses/{course_id}").json()["title"]
    eventually(lambda: "ENROLLMENT_CREATED" in learner.notes())
    clock.set(morning(3))
    remind(clock)
    [note] = eventually(lambda: reminders(learner))
    assert (note["kind"], note["course_title"]) == ("inactivity", title)
    mail = mail_of(learner, f"“{title}” is waiting")
    link = mail["headers"]["List-Unsubscribe"].strip("<>")
    clicked = requests.post(link, data={"List-Unsubscribe": "One-Click"}, timeout=10)
    assert clicked.json() == {"category": "reminders", "subscribed": False}

    clock.set(morning(7))
    remind(clock)
    eventually(lambda: told(shop, learner, "email", "reminders") == [("sent", None), ("skipped", "preference")])
    assert len(reminders(learner)) == 2
    assert mails_of(learner, "is waiting") == 1


def test_who_has_completed_the_course_is_not_told_of_a_pause(shop: Shop, clock: Clock) -> None:
    learner, course_id = shop.learner().enrolled()
    for lesson_id in learner.lessons(course_id):
        learner.complete(course_id, lesson_id)
    eventually(lambda: "COURSE_COMPLETED" in learner.notes())
    clock.set(morning(3))
    remind(clock)
    assert reminders(learner) == []


def test_a_checkout_left_open_is_told_of_by_its_course_until_it_is_paid(shop: Shop, clock: Clock) -> None:
    learner, course = shop.learner(), shop.paid_course()
    learner.profile()
    checkout = learner.check_out(course["id"])
    shop.platform.wait_until_handled()
    clock.set(datetime.now(UTC) + timedelta(minutes=61))
    remind(clock)
    assert course["title"] in mail_of(learner, "Your order")["subject"]
    [note] = reminders(learner)
    assert (note["kind"], note["order_id"]) == ("abandoned_checkout", checkout["order_id"])

    shop.pay(checkout["redirect_url"])
    eventually(lambda: learner.progress(course["id"]))
    shop.platform.wait_until_handled()
    clock.set(datetime.now(UTC) + timedelta(hours=25))
    remind(clock)
    assert len(reminders(learner)) == mails_of(learner, "is not finished") == 1


def test_a_reminder_that_a_mail_server_held_up_is_not_sent_to_who_has_paid_meanwhile(shop: Shop, clock: Clock) -> None:
    learner, course = shop.learner(), shop.paid_course()
    learner.profile()
    mail_of(learner, "Welcome to Coursebus")
    checkout = learner.check_out(course["id"])
    shop.platform.wait_until_handled()
    clock.set(datetime.now(UTC) + timedelta(minutes=61))
    mail = shop.platform.stack.pid("mail")
    os.kill(mail, signal.SIGSTOP)
    try:
        remind(clock)
        # The first attempt has given up: the next one comes when we have paid.
        eventually(lambda: any(reason for _, reason in told(shop, learner, "email", "reminders")))
        shop.pay(checkout["redirect_url"])
        eventually(lambda: learner.progress(course["id"]))
    finally:
        os.kill(mail, signal.SIGCONT)
    skipped = [("skipped", "no_longer_so")]
    eventually(lambda: told(shop, learner, "email", "reminders") == skipped, within_seconds=60)
    assert mails_of(learner, "is not finished") == 0


def test_a_streak_is_told_of_on_the_evening_that_would_break_it(shop: Shop, clock: Clock) -> None:
    learner, course_id = shop.learner().enrolled()
    user_id = learner.profile()["id"]
    shop.platform.database.execute(  # nobody's history begins today
        "UPDATE progress.course_progress SET started_at = started_at - interval '9 days' WHERE user_id = :user_id",
        user_id=user_id,
    )
    today = datetime.combine(datetime.now(UTC).date(), time(), UTC)
    done = {"course_id": course_id, "kind": "completed"}
    events = [
        {**done, "id": f"day-{days}", "lesson_id": lesson_id, "at": (today - days * DAY + DAY / 2).isoformat()}
        for days, lesson_id in zip((2, 1), learner.lessons(course_id), strict=False)
    ]
    merged = learner.post("/v1/me/progress/batch", {"events": events}).json()["results"]
    assert [each["code"] for each in merged] == [None, None]
    eventually(lambda: learner.notes().count("LESSON_COMPLETED") == 2)

    clock.set(today + timedelta(hours=18))
    remind(clock)
    assert reminders(learner) == []
    clock.set(today + timedelta(hours=20))
    remind(clock)
    [note] = eventually(lambda: reminders(learner))
    assert (note["kind"], note["days"]) == ("streak", 2)
    eventually(lambda: mails_of(learner, "Keep your streak") == 1)
    clock.set(today + timedelta(hours=21))
    remind(clock)
    assert len(reminders(learner)) == mails_of(learner, "Keep your streak") == 1


@pytest.mark.parametrize("then", ["goes on", "given up"])
def test_the_end_of_a_trial_is_told_once_to_who_has_not_given_it_up(shop: Shop, clock: Clock, then: str) -> None:
    learner = shop.learner()
    learner.profile()
    plan = make_plan(shop, shop.platform.person("admin@demo.test"), trial_days=14, name=f"Trial {uuid4().hex[:6]}")
    begun = learner.post("/v1/subscriptions", {"plan_id": plan["id"], "provider": "stripe"}, key=uuid4().hex)
    if then == "given up":
        learner.post(f"/v1/subscriptions/{begun.json()['id']}/cancel")
    clock.set(datetime.now(UTC) + 11 * DAY + timedelta(minutes=5))
    clock.run("payments.advance_subscriptions", times=2)
    ends = f"Your trial of “{plan['name']}” ends soon"
    if then == "goes on":
        mail_of(learner, ends)
    shop.platform.wait_until_handled()
    assert mails_of(learner, ends) == (then == "goes on")


def test_reminders_can_be_chosen_against_beforehand_and_a_choice_that_is_none_is_refused(shop: Shop) -> None:
    learner = shop.learner()
    learner.profile()
    path = "/v1/me/notification-preferences"
    seen = learner.get(path).headers["ETag"]
    off = {"categories": {"reminders": {"email": False, "push": False, "in_app": False}}}
    chosen = learner.person.put(path, off, If_Match=seen)
    assert chosen.status_code == 200
    refused = learner.person.put(path, {"categories": {"nagging": {"email": True}}}, If_Match=seen)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
