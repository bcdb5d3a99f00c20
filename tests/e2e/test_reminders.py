"""Reminders: a pause, a streak, an open checkout or an ending trial is reported once, if it still applies."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import uuid4

import pytest
import requests

from .harness import ScenarioHarness, Visitor, eventually
from .test_notifications import delivery_outcomes, mail_of
from .test_subscriptions import make_plan

DAY = timedelta(days=1)


class Clock:
    """The clock of the stack, and the jobs of its schedule."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def advanced_seconds(self) -> float:
        return float(requests.get(f"{self.origin}/__clock", timeout=5).json()["advanced_seconds"])

    def advance(self, seconds: float) -> None:
        requests.post(f"{self.origin}/__clock", json={"advance_seconds": seconds}, timeout=5).raise_for_status()

    def set(self, to: datetime) -> None:
        """Set the clock to a time after or before the real time."""
        self.advance((to - datetime.now(UTC)).total_seconds() - self.advanced_seconds())

    def run(self, job: str, *, times: int = 1) -> None:
        for _ in range(times):
            assert requests.post(f"{self.origin}/__jobs/{job}/run", timeout=40).json()["finished"]


@pytest.fixture
def clock(harness: ScenarioHarness) -> Iterator[Clock]:
    """A clock that shows the real time at the start of the test, and is reset at the end."""
    clock = Clock(harness.platform.clock)
    before = clock.advanced_seconds()
    clock.advance(-before)
    yield clock
    clock.advance(before - clock.advanced_seconds())


def morning(days: int) -> datetime:
    """Return ten o'clock at least ``days`` days from now."""
    at = datetime.now(UTC) + days * DAY
    ten = datetime.combine(at.date(), time(10), UTC)
    return ten if ten >= at else ten + DAY


def run_reminder_job(clock: Clock) -> None:
    """Run the reminder job twice, as the schedule does every ten minutes."""
    clock.run("notifications.enqueue_due_reminders", times=2)


def reminders(learner: Visitor) -> list[dict[str, Any]]:
    """Return the reminders in the inbox, the oldest first."""
    notes = learner.get("/v1/me/notifications?limit=100").json()["items"]
    return [note["data"] for note in reversed(notes) if note["data"]["event"] == "REMINDER"]


def count_mails(learner: Visitor, words: str) -> int:
    return sum(words in subject for subject in learner.subjects())


def test_inactivity_reminder_once_and_not_after_unsubscribe(harness: ScenarioHarness, clock: Clock) -> None:
    learner, course_id = harness.learner().enroll_in_free_course()
    title = harness.visitor().get(f"/v1/courses/{course_id}").json()["title"]
    eventually(lambda: "ENROLLMENT_CREATED" in learner.notification_events())
    clock.set(morning(3))
    run_reminder_job(clock)
    [note] = eventually(lambda: reminders(learner))
    assert (note["kind"], note["course_title"]) == ("inactivity", title)
    mail = mail_of(learner, f"“{title}” is waiting")
    link = mail["headers"]["List-Unsubscribe"].strip("<>")
    clicked = requests.post(link, data={"List-Unsubscribe": "One-Click"}, timeout=10)
    assert clicked.json() == {"category": "reminders", "subscribed": False}

    clock.set(morning(7))
    run_reminder_job(clock)
    eventually(
        lambda: delivery_outcomes(harness, learner, "email", "reminders") == [("sent", None), ("skipped", "preference")]
    )
    assert len(reminders(learner)) == 2
    assert count_mails(learner, "is waiting") == 1


def test_no_inactivity_reminder_after_course_completion(harness: ScenarioHarness, clock: Clock) -> None:
    learner, course_id = harness.learner().enroll_in_free_course()
    for lesson_id in learner.lessons(course_id):
        learner.complete(course_id, lesson_id)
    eventually(lambda: "COURSE_COMPLETED" in learner.notification_events())
    clock.set(morning(3))
    run_reminder_job(clock)
    assert reminders(learner) == []


def test_abandoned_checkout_reminder_until_paid(harness: ScenarioHarness, clock: Clock) -> None:
    learner, course = harness.learner(), harness.paid_course()
    learner.profile()
    checkout = learner.check_out(course["id"])
    harness.platform.wait_until_handled()
    clock.set(datetime.now(UTC) + timedelta(minutes=61))
    run_reminder_job(clock)
    assert course["title"] in mail_of(learner, "Your order")["subject"]
    [note] = reminders(learner)
    assert (note["kind"], note["order_id"]) == ("abandoned_checkout", checkout["order_id"])

    harness.pay(checkout["redirect_url"])
    eventually(lambda: learner.progress(course["id"]))
    harness.platform.wait_until_handled()
    clock.set(datetime.now(UTC) + timedelta(hours=25))
    run_reminder_job(clock)
    assert len(reminders(learner)) == count_mails(learner, "is not complete") == 1


def test_delayed_reminder_is_skipped_after_payment(harness: ScenarioHarness, clock: Clock) -> None:
    learner, course = harness.learner(), harness.paid_course()
    learner.profile()
    mail_of(learner, "Welcome to Coursebus")
    checkout = learner.check_out(course["id"])
    harness.platform.wait_until_handled()
    clock.set(datetime.now(UTC) + timedelta(minutes=61))
    mail = harness.platform.stack.pid("mail")
    os.kill(mail, signal.SIGSTOP)
    try:
        run_reminder_job(clock)
        # The first attempt has failed. The order is paid before the next one.
        eventually(lambda: any(reason for _, reason in delivery_outcomes(harness, learner, "email", "reminders")))
        harness.pay(checkout["redirect_url"])
        eventually(lambda: learner.progress(course["id"]))
    finally:
        os.kill(mail, signal.SIGCONT)
    skipped = [("skipped", "no_longer_applicable")]
    eventually(lambda: delivery_outcomes(harness, learner, "email", "reminders") == skipped, seconds=60)
    assert count_mails(learner, "is not complete") == 0


def test_streak_reminder_on_last_evening(harness: ScenarioHarness, clock: Clock) -> None:
    learner, course_id = harness.learner().enroll_in_free_course()
    user_id = learner.profile()["id"]
    harness.platform.database.execute(  # no learner's history begins today
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
    eventually(lambda: learner.notification_events().count("LESSON_COMPLETED") == 2)

    clock.set(today + timedelta(hours=18))
    run_reminder_job(clock)
    assert reminders(learner) == []
    clock.set(today + timedelta(hours=20))
    run_reminder_job(clock)
    [note] = eventually(lambda: reminders(learner))
    assert (note["kind"], note["days"]) == ("streak", 2)
    eventually(lambda: count_mails(learner, "Keep your streak") == 1)
    clock.set(today + timedelta(hours=21))
    run_reminder_job(clock)
    assert len(reminders(learner)) == count_mails(learner, "Keep your streak") == 1


@pytest.mark.parametrize("then", ["goes on", "given up"])
def test_trial_end_reminder_unless_canceled(harness: ScenarioHarness, clock: Clock, then: str) -> None:
    learner = harness.learner()
    learner.profile()
    plan = make_plan(
        harness, harness.platform.person("admin@demo.test"), trial_days=14, name=f"Trial {uuid4().hex[:6]}"
    )
    trial = learner.post("/v1/subscriptions", {"plan_id": plan["id"], "provider": "stripe"}, key=uuid4().hex)
    if then == "given up":
        learner.post(f"/v1/subscriptions/{trial.json()['id']}/cancel")
    clock.set(datetime.now(UTC) + 11 * DAY + timedelta(minutes=5))
    clock.run("payments.process_due_subscriptions", times=2)
    ends = f"Your free trial of “{plan['name']}” ends soon"
    if then == "goes on":
        mail_of(learner, ends)
    harness.platform.wait_until_handled()
    assert count_mails(learner, ends) == (then == "goes on")


def test_reminder_opt_out_and_invalid_preference(
    harness: ScenarioHarness,
) -> None:
    learner = harness.learner()
    learner.profile()
    path = "/v1/me/notification-preferences"
    etag = learner.get(path).headers["ETag"]
    off = {"categories": {"reminders": {"email": False, "push": False, "in_app": False}}}
    chosen = learner.person.put(path, off, If_Match=etag)
    assert chosen.status_code == 200
    refused = learner.person.put(path, {"categories": {"nagging": {"email": True}}}, If_Match=etag)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
