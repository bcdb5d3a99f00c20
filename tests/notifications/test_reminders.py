from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from models.base import new_id, now
from models.events import EnrollmentEnded, OrderCanceled, OrderCreated
from models.notifications import Contact, Preferences, QuietHours
from models.notifications.reminders import (
    ABANDONED_CHECKOUT,
    INACTIVITY,
    STREAK,
    Learning,
    Reminder,
    Wait,
    forget_reminders,
    reminders_of,
)
from tests.notifications.conftest import OneSession
from tests.notifications.factories import (
    choose,
    course_completed,
    enrollment_created,
    lesson_completed,
    make_contact,
    make_person,
    payment_succeeded,
)
from tests.support.events import some
from workers.notifications import waiting
from workers.notifications.messages import (
    congratulate_on_course,
    congratulate_on_lesson,
    send_receipt,
    welcome_learner,
)
from workers.notifications.plans import PLANS
from workers.notifications.reminders import look_for_reminders, remind
from workers.notifications.sending import Desk
from workers.notifications.waiting import drop_checkout, leave_course, prune_reminders, watch_checkout

BERLIN, TOKYO = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo")
MONDAY = datetime(2027, 6, 7, tzinfo=BERLIN)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session, timezone="Europe/Berlin")


class Days:
    """The days of one learner: what happens in them, and what the job finds."""

    def __init__(self, post, clock, user_id: UUID) -> None:
        self.post, self.clock, self.user_id = post, clock, user_id
        self.course_id = new_id()

    def enroll(self, at: datetime) -> None:
        event = enrollment_created(self.user_id, course_id=self.course_id, enrolled_at=at.astimezone(UTC))
        self.post.handle(welcome_learner, event)

    def learn(self, at: datetime) -> None:
        event = lesson_completed(self.user_id, course_id=self.course_id, completed_at=at.astimezone(UTC))
        self.post.handle(congratulate_on_lesson, event)

    def order(self, at: datetime) -> OrderCreated:
        event = some(OrderCreated, user_id=self.user_id, course_id=self.course_id, created_at=at.astimezone(UTC))
        watch_checkout(self.post.session, event=event)
        return event

    def look(self, at: datetime) -> list[str]:
        """Run the job and what it starts; which reminders are in the feed by then, oldest first."""
        self.clock.set(at)
        pokes = []
        look_for_reminders(self.post.session, lambda task, **message: pokes.append((task, message)))
        desk = Desk(self.post.history, self.post.choices, self.post.pokes, announce=lambda _user_id: None)
        for _, message in pokes:
            remind(self.post.session, desk, **message)
        return self.told()

    def told(self) -> list[str]:
        data = [note["data"] for note in reversed(self.post.feed(self.user_id))]
        return [f"{each['kind']} {each.get('days', '')}".strip() for each in data if each["event"] == "REMINDER"]


@pytest.fixture
def days(post, clock, ann) -> Days:
    return Days(post, clock, ann)


def test_a_pause_is_reminded_of_after_3_7_and_30_days_in_the_morning(days):
    days.enroll(MONDAY + 20 * HOUR)
    assert days.look(MONDAY + 3 * DAY + 9 * HOUR) == []  # not three days yet
    assert days.look(MONDAY + 3 * DAY + 23 * HOUR) == []  # three, and the night
    assert days.look(MONDAY + 4 * DAY + 9 * HOUR) == ["inactivity 3"]
    assert days.look(MONDAY + 4 * DAY + 10 * HOUR) == ["inactivity 3"]
    assert days.look(MONDAY + 8 * DAY + 9 * HOUR) == ["inactivity 3", "inactivity 7"]
    after = ["inactivity 3", "inactivity 7", "inactivity 30"]
    assert days.look(MONDAY + 31 * DAY + 9 * HOUR) == after
    assert days.look(MONDAY + 90 * DAY + 9 * HOUR) == after


def test_a_pause_that_ended_begins_anew(days):
    days.enroll(MONDAY + 8 * HOUR)
    days.learn(MONDAY + 2 * DAY + 8 * HOUR)
    assert days.look(MONDAY + 3 * DAY + 10 * HOUR) == []
    assert days.look(MONDAY + 5 * DAY + 10 * HOUR) == ["inactivity 3"]


def test_what_was_missed_while_nobody_looked_is_one_reminder(days):
    days.enroll(MONDAY + 8 * HOUR)
    assert days.look(MONDAY + 10 * DAY + 10 * HOUR) == ["inactivity 10"]
    assert days.look(MONDAY + 11 * DAY + 10 * HOUR) == ["inactivity 10"]


def test_a_reminder_started_twice_is_told_once(days):
    days.enroll(MONDAY + 8 * HOUR)
    days.clock.set(MONDAY + 3 * DAY + 10 * HOUR)
    desk = Desk(days.post.history, days.post.choices, days.post.pokes, announce=lambda _user_id: None)
    for _ in range(2):
        remind(days.post.session, desk, kind=INACTIVITY, about=days.user_id)

    assert days.told() == ["inactivity 3"]


def test_the_same_pause_is_not_reminded_of_twice_whatever_the_row_says(days):
    days.enroll(MONDAY + 8 * HOUR)
    assert days.look(MONDAY + 3 * DAY + 10 * HOUR) == ["inactivity 3"]
    for _ in range(2):  # made anew, as by a rebuild: due again
        forget_due(days)
        assert days.look(MONDAY + 4 * DAY + 10 * HOUR) == ["inactivity 3"]


def forget_due(days: Days) -> None:
    days.post.session.get_one(Wait, (INACTIVITY, days.user_id)).due_at = MONDAY.astimezone(UTC)
    days.post.session.flush()


@pytest.mark.parametrize("end", ["completed", "refunded"])
def test_a_course_that_is_over_is_not_reminded_of(days, end: str):
    days.enroll(MONDAY + 8 * HOUR)
    at = (MONDAY + 9 * HOUR).astimezone(UTC)
    if end == "completed":
        event = course_completed(days.user_id, course_id=days.course_id, completed_at=at)
        days.post.handle(congratulate_on_course, event)
    else:
        event = some(EnrollmentEnded, user_id=days.user_id, course_id=days.course_id, ended_at=at)
        leave_course(days.post.session, event=event)
        days.learn(MONDAY + 10 * HOUR)  # late news from another topic bring nothing back

    assert days.look(MONDAY + 5 * DAY + 10 * HOUR) == []


def test_nobody_is_reminded_of_what_was_over_for_a_month(days):
    days.enroll(MONDAY + 8 * HOUR)
    days.order(MONDAY + 8 * HOUR)
    assert days.look(MONDAY + 70 * DAY + 10 * HOUR) == []


def test_a_streak_counts_days_in_whatever_order_and_course_they_are_told_of(days):
    days.learn(MONDAY + 2 * DAY + 8 * HOUR)
    days.course_id = new_id()
    days.learn(MONDAY + DAY + 8 * HOUR)
    days.learn(MONDAY + 8 * HOUR)
    assert days.look(MONDAY + 3 * DAY + 20 * HOUR) == ["streak 3"]


def test_what_nobody_is_reminded_of_any_more_is_forgotten(session, days, monkeypatch):
    long_ago, lately = now() - 95 * DAY, now() - 85 * DAY
    for at in (long_ago, lately):
        days.order(at)
        days.course_id = new_id()
        days.enroll(at)
        leave_course(session, event=some(EnrollmentEnded, user_id=days.user_id, course_id=days.course_id, ended_at=at))
        Reminder.first(session, days.user_id, kind=STREAK, local_day=at.date(), reason=str(at))
    session.flush()
    monkeypatch.setattr(waiting, "PRUNED_AT_ONCE", 1)
    prune_reminders(OneSession(session))

    checkouts = select(Wait.since).where(Wait.kind == ABANDONED_CHECKOUT, Wait.user_id == days.user_id)
    assert session.scalars(checkouts).all() == [lately]
    assert session.scalars(select(Learning.ended_at).where(Learning.user_id == days.user_id)).all() == [lately]
    kept = session.scalars(select(Reminder.local_day).where(Reminder.user_id == days.user_id)).all()
    assert kept == [lately.date()]


def test_who_moves_is_reminded_in_the_morning_of_where_they_are(session, days):
    days.enroll(MONDAY + 8 * HOUR)
    Contact.keep(session, days.user_id, version=2, pii=make_person(timezone="Asia/Tokyo"))
    session.expire_all()
    assert days.look(MONDAY + 3 * DAY + 10 * HOUR) == []  # five in the afternoon there
    assert days.look(datetime(2027, 6, 11, 9, 30, tzinfo=TOKYO)) == ["inactivity 3"]


def test_a_mail_that_waited_is_not_sent_when_the_learner_has_gone_on_meanwhile(days):
    choose(days.post.choices, days.user_id, Preferences(quiet_hours=QuietHours("08:00", "20:00")))
    days.enroll(MONDAY + 8 * HOUR)
    days.post.pokes.clear()
    days.look(MONDAY + 3 * DAY + 10 * HOUR)
    [delivery_id] = [message["delivery_id"] for _, message in days.post.pokes]
    days.post.deliver_poked()
    assert days.post.standing(delivery_id) == ("held", "quiet_hours")
    days.learn(MONDAY + 3 * DAY + 12 * HOUR)
    days.clock.set(MONDAY + 3 * DAY + 21 * HOUR)
    days.post.deliver(delivery_id)

    assert days.post.standing(delivery_id) == ("skipped", "no_longer_so")


def test_a_streak_is_reminded_of_on_the_evening_that_would_break_it(days):
    for day in range(3):
        days.learn(MONDAY + day * DAY + 23 * HOUR)
    assert days.look(MONDAY + 3 * DAY + 18 * HOUR) == []
    assert days.look(MONDAY + 3 * DAY + 19 * HOUR) == ["streak 3"]
    assert days.look(MONDAY + 3 * DAY + 20 * HOUR) == ["streak 3"]


def test_a_streak_of_one_day_or_a_broken_one_or_one_that_goes_on_is_left_alone(days):
    days.learn(MONDAY + 8 * HOUR)
    assert days.look(MONDAY + DAY + 20 * HOUR) == []
    days.learn(MONDAY + 2 * DAY + 8 * HOUR)
    days.learn(MONDAY + 3 * DAY + 8 * HOUR)
    days.learn(MONDAY + 4 * DAY + 8 * HOUR)
    assert days.look(MONDAY + 4 * DAY + 20 * HOUR) == []
    days.look(MONDAY + 5 * DAY + 23 * HOUR)  # too late for that evening
    assert "streak 3" not in days.look(MONDAY + 6 * DAY + 20 * HOUR)


def test_two_lessons_of_a_day_are_one_day(days):
    days.learn(MONDAY + 8 * HOUR)
    days.learn(MONDAY + 9 * HOUR)
    assert days.look(MONDAY + DAY + 20 * HOUR) == []


def test_a_checkout_left_open_is_reminded_of_after_an_hour_and_after_a_day(days):
    days.order(MONDAY + 10 * HOUR)
    assert days.look(MONDAY + 10 * HOUR + timedelta(minutes=59)) == []
    assert days.look(MONDAY + 11 * HOUR) == ["abandoned_checkout"]
    assert days.look(MONDAY + 30 * HOUR) == ["abandoned_checkout"]
    assert days.look(MONDAY + 34 * HOUR) == ["abandoned_checkout"] * 2
    assert days.look(MONDAY + 90 * HOUR) == ["abandoned_checkout"] * 2


@pytest.mark.parametrize("end", ["paid", "canceled", "bought otherwise"])
def test_a_checkout_that_is_over_is_not_reminded_of(days, end: str):
    order, at = days.order(MONDAY + 10 * HOUR), (MONDAY + 10 * HOUR).astimezone(UTC)
    if end == "paid":
        days.post.handle(send_receipt, payment_succeeded(days.user_id, order_id=order.order_id, paid_at=at))
    elif end == "canceled":
        event = some(OrderCanceled, user_id=days.user_id, order_id=order.order_id, canceled_at=at)
        drop_checkout(days.post.session, event=event)
    else:
        days.enroll(MONDAY + 10 * HOUR)

    assert days.look(MONDAY + 12 * HOUR) == []


def test_two_checkouts_of_a_day_are_one_reminder_that_day(days):
    for hour in (10, 11):
        days.order(MONDAY + hour * HOUR)
    assert days.look(MONDAY + 13 * HOUR) == ["abandoned_checkout"]


def test_an_order_delivered_twice_is_watched_once(session, days):
    event = days.order(MONDAY + 10 * HOUR)
    assert days.look(MONDAY + 12 * HOUR) == ["abandoned_checkout"]
    watch_checkout(session, event=event)
    assert days.look(MONDAY + 13 * HOUR) == ["abandoned_checkout"]


def test_nobody_is_reminded_after_they_have_gone(session, days):
    days.enroll(MONDAY + 8 * HOUR)
    days.order(MONDAY + 8 * HOUR)
    assert {wait["kind"] for wait in reminders_of(session, days.user_id)} == {INACTIVITY, ABANDONED_CHECKOUT}
    Contact.erase(session, days.user_id, at=now())
    session.expire_all()
    assert days.look(MONDAY + 5 * DAY + 10 * HOUR) == []
    assert forget_reminders(session, days.user_id) == 3
    days.order(MONDAY + 9 * HOUR)
    assert reminders_of(session, days.user_id) == []


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        ("2026-03-29T01:30", "2026-03-29T09:00"),  # the night that is an hour shorter
        ("2026-10-25T02:30", "2026-10-25T09:00"),
        ("2026-06-10T11:59", "2026-06-10T11:59"),
        ("2026-06-10T12:00", "2026-06-11T09:00"),
    ],
)
def test_the_morning_is_that_of_the_learners_clock(at: str, opens: str):
    local = datetime.fromisoformat(at).replace(tzinfo=BERLIN)
    assert PLANS[INACTIVITY].opens(local, BERLIN) == datetime.fromisoformat(opens).replace(tzinfo=BERLIN)


def test_every_reminder_has_its_words():
    assert PLANS.keys() == {INACTIVITY, STREAK, ABANDONED_CHECKOUT}


def test_checkout_that_arrives_after_its_payment_is_not_reminded_of(session, days):
    at = (MONDAY + 10 * HOUR).astimezone(UTC)
    order = some(OrderCreated, user_id=days.user_id, course_id=days.course_id, created_at=at)

    days.post.handle(send_receipt, payment_succeeded(days.user_id, order_id=order.order_id, paid_at=at))
    watch_checkout(session, event=order)

    assert days.look(MONDAY + 12 * HOUR) == []
