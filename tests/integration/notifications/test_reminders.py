from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import new_id, utc_now
from models.events import EnrollmentEnded, OrderCanceled, OrderCreated
from models.notifications import Contact, Preferences, QuietHours
from models.notifications.reminders import (
    ABANDONED_CHECKOUT,
    INACTIVITY,
    STREAK,
    LearningActivity,
    PendingReminder,
    Reminder,
    erase_reminders,
    export_reminders,
)
from tests.integration.notifications.factories import (
    choose,
    course_completed,
    enrollment_created,
    lesson_completed,
    make_contact,
    make_person,
    payment_succeeded,
)
from tests.support.dependencies import SavepointTransactions
from tests.support.events import build_event
from workers.notifications import reminder_tracking
from workers.notifications.dispatcher import NotificationDispatcher
from workers.notifications.event_handlers import (
    send_course_completed,
    send_enrollment_confirmation,
    send_lesson_completed,
    send_receipt,
)
from workers.notifications.reminder_schedule import SCHEDULES
from workers.notifications.reminder_tracking import (
    cancel_checkout_reminder,
    on_enrollment_ended,
    prune_reminders,
    start_checkout_reminder,
)
from workers.notifications.reminders import enqueue_due_reminders, send_reminder

BERLIN, TOKYO = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo")
MONDAY = datetime(2027, 6, 7, tzinfo=BERLIN)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session, timezone="Europe/Berlin")


class LearnerTimeline:
    """A learner's days: events that happen, and runs of the reminder job."""

    def __init__(self, harness, clock, user_id: UUID) -> None:
        self.harness, self.clock, self.user_id = harness, clock, user_id
        self.course_id = new_id()

    def enroll(self, at: datetime) -> None:
        event = enrollment_created(self.user_id, course_id=self.course_id, enrolled_at=at.astimezone(UTC))
        self.harness.handle(send_enrollment_confirmation, event)

    def learn(self, at: datetime) -> None:
        event = lesson_completed(self.user_id, course_id=self.course_id, completed_at=at.astimezone(UTC))
        self.harness.handle(send_lesson_completed, event)

    def order(self, at: datetime) -> OrderCreated:
        event = build_event(OrderCreated, user_id=self.user_id, course_id=self.course_id, created_at=at.astimezone(UTC))
        start_checkout_reminder(self.harness.session, event=event)
        return event

    def run_reminder_job(self, at: datetime) -> list[str]:
        """Run the job and its tasks; returns the reminders in the inbox by then, oldest first."""
        self.clock.set(at)
        enqueued = []
        enqueue_due_reminders(self.harness.session, enqueued.append)
        dispatcher = NotificationDispatcher(
            self.harness.notification_store,
            self.harness.preference_store,
            self.harness.enqueued,
            publish_new_notification=lambda _user_id: None,
        )
        for command in enqueued:
            send_reminder(self.harness.session, dispatcher, **msgspec.structs.asdict(command))
        return self.reminders_in_inbox()

    def reminders_in_inbox(self) -> list[str]:
        data = [note["data"] for note in reversed(self.harness.inbox(self.user_id))]
        return [f"{each['kind']} {each.get('days', '')}".strip() for each in data if each["event"] == "REMINDER"]


@pytest.fixture
def days(harness, clock, ann) -> LearnerTimeline:
    return LearnerTimeline(harness, clock, ann)


def test_inactivity_reminders_after_3_7_and_30_days(days):
    days.enroll(MONDAY + 20 * HOUR)
    assert days.run_reminder_job(MONDAY + 3 * DAY + 9 * HOUR) == []  # less than three days
    assert days.run_reminder_job(MONDAY + 3 * DAY + 23 * HOUR) == []  # three days, but at night
    assert days.run_reminder_job(MONDAY + 4 * DAY + 9 * HOUR) == ["inactivity 3"]
    assert days.run_reminder_job(MONDAY + 4 * DAY + 10 * HOUR) == ["inactivity 3"]
    assert days.run_reminder_job(MONDAY + 8 * DAY + 9 * HOUR) == ["inactivity 3", "inactivity 7"]
    after = ["inactivity 3", "inactivity 7", "inactivity 30"]
    assert days.run_reminder_job(MONDAY + 31 * DAY + 9 * HOUR) == after
    assert days.run_reminder_job(MONDAY + 90 * DAY + 9 * HOUR) == after


def test_activity_restarts_inactivity_period(days):
    days.enroll(MONDAY + 8 * HOUR)
    days.learn(MONDAY + 2 * DAY + 8 * HOUR)
    assert days.run_reminder_job(MONDAY + 3 * DAY + 10 * HOUR) == []
    assert days.run_reminder_job(MONDAY + 5 * DAY + 10 * HOUR) == ["inactivity 3"]


def test_missed_reminders_are_coalesced(days):
    days.enroll(MONDAY + 8 * HOUR)
    assert days.run_reminder_job(MONDAY + 10 * DAY + 10 * HOUR) == ["inactivity 10"]
    assert days.run_reminder_job(MONDAY + 11 * DAY + 10 * HOUR) == ["inactivity 10"]


def test_repeated_reminder_task_notifies_once(days):
    days.enroll(MONDAY + 8 * HOUR)
    days.clock.set(MONDAY + 3 * DAY + 10 * HOUR)
    dispatcher = NotificationDispatcher(
        days.harness.notification_store,
        days.harness.preference_store,
        days.harness.enqueued,
        publish_new_notification=lambda _user_id: None,
    )
    for _ in range(2):
        send_reminder(days.harness.session, dispatcher, kind=INACTIVITY, about=days.user_id)

    assert days.reminders_in_inbox() == ["inactivity 3"]


def test_inactivity_reminder_is_not_repeated_after_rebuild(days):
    days.enroll(MONDAY + 8 * HOUR)
    assert days.run_reminder_job(MONDAY + 3 * DAY + 10 * HOUR) == ["inactivity 3"]
    for _ in range(2):  # due again after a rebuild of the projection
        make_reminder_due(days)
        assert days.run_reminder_job(MONDAY + 4 * DAY + 10 * HOUR) == ["inactivity 3"]


def make_reminder_due(days: LearnerTimeline) -> None:
    days.harness.session.get_one(PendingReminder, (INACTIVITY, days.user_id)).due_at = MONDAY.astimezone(UTC)
    days.harness.session.flush()


@pytest.mark.parametrize("end", ["completed", "refunded"])
def test_ended_course_has_no_inactivity_reminder(days, end: str):
    days.enroll(MONDAY + 8 * HOUR)
    at = (MONDAY + 9 * HOUR).astimezone(UTC)
    if end == "completed":
        event = course_completed(days.user_id, course_id=days.course_id, completed_at=at)
        days.harness.handle(send_course_completed, event)
    else:
        event = build_event(EnrollmentEnded, user_id=days.user_id, course_id=days.course_id, ended_at=at)
        on_enrollment_ended(days.harness.session, event=event)
        days.learn(MONDAY + 10 * HOUR)  # an older event from another topic restores nothing

    assert days.run_reminder_job(MONDAY + 5 * DAY + 10 * HOUR) == []


def test_stale_reminders_are_dropped(days):
    days.enroll(MONDAY + 8 * HOUR)
    days.order(MONDAY + 8 * HOUR)
    assert days.run_reminder_job(MONDAY + 70 * DAY + 10 * HOUR) == []


def test_streak_counts_days_in_any_order_across_courses(days):
    days.learn(MONDAY + 2 * DAY + 8 * HOUR)
    days.course_id = new_id()
    days.learn(MONDAY + DAY + 8 * HOUR)
    days.learn(MONDAY + 8 * HOUR)
    assert days.run_reminder_job(MONDAY + 3 * DAY + 20 * HOUR) == ["streak 3"]


def test_old_reminder_state_is_pruned(session, days, monkeypatch):
    long_ago, lately = utc_now() - 95 * DAY, utc_now() - 85 * DAY
    for at in (long_ago, lately):
        days.order(at)
        days.course_id = new_id()
        days.enroll(at)
        on_enrollment_ended(
            session, event=build_event(EnrollmentEnded, user_id=days.user_id, course_id=days.course_id, ended_at=at)
        )
        Reminder.insert_once(session, days.user_id, kind=STREAK, local_day=at.date(), reason=str(at))
    session.flush()
    monkeypatch.setattr(reminder_tracking, "PRUNE_BATCH_SIZE", 1)
    prune_reminders(SavepointTransactions(session))

    checkouts = select(PendingReminder.since).where(
        PendingReminder.kind == ABANDONED_CHECKOUT, PendingReminder.user_id == days.user_id
    )
    assert session.scalars(checkouts).all() == [lately]
    assert session.scalars(select(LearningActivity.ended_at).where(LearningActivity.user_id == days.user_id)).all() == [
        lately
    ]
    kept = session.scalars(select(Reminder.local_day).where(Reminder.user_id == days.user_id)).all()
    assert kept == [lately.date()]


def test_reminder_uses_current_timezone(session, days):
    days.enroll(MONDAY + 8 * HOUR)
    Contact.upsert(session, days.user_id, version=2, pii=make_person(timezone="Asia/Tokyo"))
    session.expire_all()
    assert days.run_reminder_job(MONDAY + 3 * DAY + 10 * HOUR) == []  # five in the afternoon in Tokyo
    assert days.run_reminder_job(datetime(2027, 6, 11, 9, 30, tzinfo=TOKYO)) == ["inactivity 3"]


def test_held_reminder_is_skipped_after_new_activity(days):
    choose(days.harness.preference_store, days.user_id, Preferences(quiet_hours=QuietHours("08:00", "20:00")))
    days.enroll(MONDAY + 8 * HOUR)
    days.harness.enqueued.clear()
    days.run_reminder_job(MONDAY + 3 * DAY + 10 * HOUR)
    [delivery_id] = [message["delivery_id"] for _, message in days.harness.enqueued]
    days.harness.deliver_enqueued()
    assert days.harness.state_of(delivery_id) == ("held", "quiet_hours")
    days.learn(MONDAY + 3 * DAY + 12 * HOUR)
    days.clock.set(MONDAY + 3 * DAY + 21 * HOUR)
    days.harness.deliver(delivery_id)

    assert days.harness.state_of(delivery_id) == ("skipped", "no_longer_applicable")


def test_streak_reminder_is_sent_in_evening_before_break(days):
    for day in range(3):
        days.learn(MONDAY + day * DAY + 23 * HOUR)
    assert days.run_reminder_job(MONDAY + 3 * DAY + 18 * HOUR) == []
    assert days.run_reminder_job(MONDAY + 3 * DAY + 19 * HOUR) == ["streak 3"]
    assert days.run_reminder_job(MONDAY + 3 * DAY + 20 * HOUR) == ["streak 3"]


def test_no_reminder_for_short_broken_or_active_streak(days):
    days.learn(MONDAY + 8 * HOUR)
    assert days.run_reminder_job(MONDAY + DAY + 20 * HOUR) == []
    days.learn(MONDAY + 2 * DAY + 8 * HOUR)
    days.learn(MONDAY + 3 * DAY + 8 * HOUR)
    days.learn(MONDAY + 4 * DAY + 8 * HOUR)
    assert days.run_reminder_job(MONDAY + 4 * DAY + 20 * HOUR) == []
    days.run_reminder_job(MONDAY + 5 * DAY + 23 * HOUR)  # too late for that evening
    assert "streak 3" not in days.run_reminder_job(MONDAY + 6 * DAY + 20 * HOUR)


def test_two_lessons_on_one_day_count_once(days):
    days.learn(MONDAY + 8 * HOUR)
    days.learn(MONDAY + 9 * HOUR)
    assert days.run_reminder_job(MONDAY + DAY + 20 * HOUR) == []


def test_checkout_reminders_after_one_hour_and_one_day(days):
    days.order(MONDAY + 10 * HOUR)
    assert days.run_reminder_job(MONDAY + 10 * HOUR + timedelta(minutes=59)) == []
    assert days.run_reminder_job(MONDAY + 11 * HOUR) == ["abandoned_checkout"]
    assert days.run_reminder_job(MONDAY + 30 * HOUR) == ["abandoned_checkout"]
    assert days.run_reminder_job(MONDAY + 34 * HOUR) == ["abandoned_checkout"] * 2
    assert days.run_reminder_job(MONDAY + 90 * HOUR) == ["abandoned_checkout"] * 2


@pytest.mark.parametrize("end", ["paid", "canceled", "bought in another order"])
def test_finished_checkout_has_no_reminder(days, end: str):
    order, at = days.order(MONDAY + 10 * HOUR), (MONDAY + 10 * HOUR).astimezone(UTC)
    if end == "paid":
        days.harness.handle(send_receipt, payment_succeeded(days.user_id, order_id=order.order_id, paid_at=at))
    elif end == "canceled":
        event = build_event(OrderCanceled, user_id=days.user_id, order_id=order.order_id, canceled_at=at)
        cancel_checkout_reminder(days.harness.session, event=event)
    else:
        days.enroll(MONDAY + 10 * HOUR)

    assert days.run_reminder_job(MONDAY + 12 * HOUR) == []


def test_two_checkouts_on_one_day_get_one_reminder(days):
    for hour in (10, 11):
        days.order(MONDAY + hour * HOUR)
    assert days.run_reminder_job(MONDAY + 13 * HOUR) == ["abandoned_checkout"]


def test_redelivered_order_is_tracked_once(session, days):
    event = days.order(MONDAY + 10 * HOUR)
    assert days.run_reminder_job(MONDAY + 12 * HOUR) == ["abandoned_checkout"]
    start_checkout_reminder(session, event=event)
    assert days.run_reminder_job(MONDAY + 13 * HOUR) == ["abandoned_checkout"]


def test_erased_user_gets_no_reminders(session, days):
    days.enroll(MONDAY + 8 * HOUR)
    days.order(MONDAY + 8 * HOUR)
    assert {reminder["kind"] for reminder in export_reminders(session, days.user_id)} == {
        INACTIVITY,
        ABANDONED_CHECKOUT,
    }
    Contact.erase(session, days.user_id, at=utc_now())
    session.expire_all()
    assert days.run_reminder_job(MONDAY + 5 * DAY + 10 * HOUR) == []
    assert erase_reminders(session, days.user_id) == 3
    days.order(MONDAY + 9 * HOUR)
    assert export_reminders(session, days.user_id) == []


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        ("2026-03-29T01:30", "2026-03-29T09:00"),  # the night is one hour shorter
        ("2026-10-25T02:30", "2026-10-25T09:00"),
        ("2026-06-10T11:59", "2026-06-10T11:59"),
        ("2026-06-10T12:00", "2026-06-11T09:00"),
    ],
)
def test_morning_is_computed_in_learner_timezone(at: str, opens: str):
    local = datetime.fromisoformat(at).replace(tzinfo=BERLIN)
    assert SCHEDULES[INACTIVITY].next_allowed_time(local, BERLIN) == datetime.fromisoformat(opens).replace(
        tzinfo=BERLIN
    )


def test_every_reminder_kind_has_schedule():
    assert SCHEDULES.keys() == {INACTIVITY, STREAK, ABANDONED_CHECKOUT}


def test_order_event_after_payment_has_no_reminder(session, days):
    at = (MONDAY + 10 * HOUR).astimezone(UTC)
    order = build_event(OrderCreated, user_id=days.user_id, course_id=days.course_id, created_at=at)

    days.harness.handle(send_receipt, payment_succeeded(days.user_id, order_id=order.order_id, paid_at=at))
    start_checkout_reminder(session, event=order)

    assert days.run_reminder_job(MONDAY + 12 * HOUR) == []
