from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.orm import Session

import settings
from api.notifications import preferences as over_http
from models.base import new_id, now
from models.notifications import CATEGORIES, Preferences, QuietHours
from models.notifications.preferences import Channels
from tests.notifications.factories import (
    certificate_issued,
    choose,
    course_completed,
    enrollment_created,
    lesson_completed,
    make_contact,
    payment_succeeded,
)
from workers.notifications.delivery import LEASE, prune_notifications
from workers.notifications.messages import (
    congratulate_on_course,
    congratulate_on_lesson,
    send_certificate,
    send_receipt,
    welcome_learner,
)
from workers.notifications.preferences import change_preferences, show_preferences
from workers.notifications.rules import RULES

BERLIN = ZoneInfo("Europe/Berlin")
NOTHING = Preferences(categories={name: Channels(email=False, push=False, in_app=False) for name in CATEGORIES})


def until(start: str, end: str, at: str) -> str | None:
    """When it is no longer quiet in Berlin, at a moment of its clock."""
    local = datetime.fromisoformat(at)
    found = QuietHours(start, end).until((local if local.tzinfo else local.replace(tzinfo=BERLIN)), BERLIN)
    return found and found.astimezone(UTC).strftime("%d %H:%M")


@pytest.mark.parametrize(
    ("at", "ends"),
    [
        ("2026-06-10T21:59", None),
        ("2026-06-10T22:00", "11 06:00"),
        ("2026-06-11T00:00", "11 06:00"),
        ("2026-06-11T07:59", "11 06:00"),
        ("2026-06-11T08:00", None),
        # The clock goes forward, and then back: the night is an hour shorter, and an hour longer.
        ("2026-03-28T23:00", "29 06:00"),
        ("2026-10-24T23:00", "25 07:00"),
    ],
)
def test_quiet_hours_over_midnight_end_on_the_users_clock(at: str, ends: str | None):
    assert until("22:00", "08:00", at) == ends


@pytest.mark.parametrize(
    ("at", "ends"),
    [("2026-06-10T12:59", None), ("2026-06-10T13:00", "10 12:30"), ("2026-06-10T14:30", None)],
)
def test_quiet_hours_may_lie_within_a_day(at: str, ends: str | None):
    assert until("13:00", "14:30", at) == ends


def test_quiet_hours_that_end_in_an_hour_that_is_left_out_end_after_it():
    assert until("22:00", "02:30", "2026-03-29T01:30") == "29 01:30"  # 03:30 there


def test_quiet_hours_that_end_in_an_hour_that_comes_twice_never_end_in_the_past():
    second_time = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    ends = QuietHours("22:00", "02:30").until(second_time, BERLIN)

    assert ends
    assert timedelta(0) < ends.astimezone(UTC) - second_time.astimezone(UTC) <= timedelta(minutes=20)


def test_the_gateway_and_the_rules_know_the_same_categories():
    assert over_http.CATEGORIES == CATEGORIES
    assert {rule.category for rule in RULES.values()} <= set(CATEGORIES)


def test_who_has_chosen_nothing_is_told_everything(choices):
    chosen = show_preferences(choices, user_id=new_id())["view"]

    assert chosen["categories"].keys() == set(CATEGORIES)
    assert all(channel for category in chosen["categories"].values() for channel in category.values())
    assert (chosen["quiet_hours"], chosen["digest"]) == (None, "off")


def test_preferences_are_kept_as_they_were_put_and_replaced_as_a_whole(choices):
    user_id = new_id()
    first = Preferences(categories={"progress": Channels(email=False)}, quiet_hours=QuietHours("22:00", "08:00"))
    shown = change_preferences(choices, user_id=user_id, expected_version=1, preferences=first)["view"]
    assert shown["categories"]["progress"] == {"email": False, "push": True, "in_app": True}
    assert shown["quiet_hours"] == {"from": "22:00", "to": "08:00"}

    shown = change_preferences(choices, user_id=user_id, expected_version=2, preferences=Preferences())["view"]
    assert shown == show_preferences(choices, user_id=new_id())["view"]


def test_one_channel_is_turned_off_and_the_others_stay(choices):
    user_id = new_id()
    choose(choices, user_id, Preferences(quiet_hours=QuietHours("22:00", "08:00")).complete())
    choices.turn_off(user_id, "courses", "email")

    chosen = choices.of(user_id)
    assert chosen.categories["courses"] == Channels(email=False)
    assert chosen.categories["progress"] == Channels()
    assert chosen.quiet_hours


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session, timezone="Europe/Berlin")


def reasons(post, user_id: UUID) -> set[tuple[str, str, str | None]]:
    return {
        (told["channel"], told["state"], told["reason"]) for told in post.history.told_to(user_id) if "reason" in told
    }


def test_what_a_user_does_not_want_is_skipped_and_keeps_its_reason(post, ann):
    choose(post.choices, ann, NOTHING)
    post.handle(welcome_learner, enrollment_created(ann))
    post.deliver_poked()

    assert post.feed(ann) == post.server.mails == []
    assert reasons(post, ann) == {("email", "skipped", "preference"), ("in_app", "skipped", "preference")}
    assert post.told() == []


def test_preferences_are_read_when_a_mail_is_sent(post, ann):
    delivery_id = post.queue(ann)
    post.choices.turn_off(ann, "progress", "email")
    post.deliver(delivery_id)

    assert post.standing(delivery_id) == ("skipped", "preference")


def test_a_receipt_passes_preferences_and_quiet_hours(post, ann):
    choose(post.choices, ann, Preferences(categories=NOTHING.categories, quiet_hours=QuietHours("00:00", "23:59")))
    post.handle(send_receipt, payment_succeeded(ann))
    post.deliver_poked()

    assert len(post.feed(ann)) == len(post.server.mails) == 1


def test_a_mail_in_quiet_hours_is_held_until_they_are_over(post, ann, clock):
    clock.set(datetime(2027, 6, 10, 23, tzinfo=BERLIN))
    choose(post.choices, ann, Preferences(quiet_hours=QuietHours("22:00", "08:00")))
    delivery_id = post.queue(ann)
    post.deliver(delivery_id)
    assert post.standing(delivery_id) == ("held", "quiet_hours")
    assert len(post.feed(ann)) == 1  # the feed makes no sound

    clock.set(datetime(2027, 6, 11, 7, 59, tzinfo=BERLIN))
    assert post.sweep() == 0
    clock.set(datetime(2027, 6, 11, 8, 1, tzinfo=BERLIN))
    assert post.sweep() == 1
    assert post.standing(delivery_id) == ("sent", None)


def test_a_held_mail_that_is_no_longer_wanted_is_skipped(post, ann, clock):
    clock.set(datetime(2027, 6, 10, 23, tzinfo=BERLIN))
    choose(post.choices, ann, Preferences(quiet_hours=QuietHours("22:00", "08:00")))
    delivery_id = post.queue(ann)
    post.deliver(delivery_id)
    post.choices.turn_off(ann, "progress", "email")
    clock.set(datetime(2027, 6, 11, 9, tzinfo=BERLIN))
    post.sweep()

    assert post.standing(delivery_id) == ("skipped", "preference")


def test_an_event_delivered_twice_is_skipped_once(post, ann):
    choose(post.choices, ann, NOTHING)
    event, event_id = certificate_issued(ann), new_id()
    for _ in range(2):
        post.handle(send_certificate, event, event_id=event_id)

    assert len(post.history.told_to(ann)) == 2  # one a channel


def outcomes(post, user_id: UUID, channel: str) -> list[tuple[str, str | None]]:
    return [(each["state"], each["reason"]) for each in post.history.told_to(user_id) if each["channel"] == channel]


def test_a_batch_of_completions_sends_one_mail(post, ann):
    for _ in range(8):
        post.handle(congratulate_on_lesson, lesson_completed(ann))
    post.handle(congratulate_on_course, course_completed(ann))
    post.handle(send_certificate, certificate_issued(ann))
    post.deliver_poked()

    assert len(post.feed(ann)) == 10
    [mail] = post.server.mails
    assert "You have completed the course “Practical Statistics”" in mail["text"]


def test_mails_of_a_category_are_limited_by_day(post, ann, clock, monkeypatch):
    monkeypatch.setattr(settings, "NOTIFICATIONS_PER_DAY", 2)
    for _ in range(4):
        post.handle(send_certificate, certificate_issued(ann))
    post.handle(welcome_learner, enrollment_created(ann))  # of another category
    for _ in range(3):
        post.handle(send_receipt, payment_succeeded(ann))  # mandatory
    post.deliver_poked()
    assert outcomes(post, ann, "email") == [
        *[("sent", None)] * 2,
        *[("skipped", "capped")] * 2,
        *[("sent", None)] * 4,
    ]
    assert len(post.feed(ann)) == 8

    clock.advance(timedelta(hours=25))
    tomorrow = post.queue(ann)
    post.deliver(tomorrow)
    assert post.standing(tomorrow) == ("sent", None)


def test_the_end_of_quiet_hours_releases_no_more_than_a_day_allows(post, ann, clock, monkeypatch):
    monkeypatch.setattr(settings, "NOTIFICATIONS_PER_DAY", 1)
    clock.set(datetime(2027, 6, 10, 23, tzinfo=BERLIN))
    choose(post.choices, ann, Preferences(quiet_hours=QuietHours("22:00", "08:00")))
    for _ in range(3):
        post.deliver(post.queue(ann))
    assert outcomes(post, ann, "email") == [("held", "quiet_hours")] * 3

    clock.set(datetime(2027, 6, 11, 8, 1, tzinfo=BERLIN))
    post.sweep()

    assert outcomes(post, ann, "email") == [("sent", None), *[("skipped", "capped")] * 2]
    assert len(post.server.mails) == 1


def test_of_two_deliveries_at_once_one_passes_the_limit(post, ann, monkeypatch):
    monkeypatch.setattr(settings, "NOTIFICATIONS_PER_DAY", 1)
    ids = [post.queue(ann) for _ in range(2)]
    first, second = (post.history.claim(each, at=now(), until=now() + LEASE) for each in ids)

    since = now() - timedelta(days=1)
    assert [post.history.sent_since(each, since) for each in (first, second)] == [0, 1]


def test_old_notes_and_ended_deliveries_are_pruned(post, ann, clock):
    post.deliver(post.queue(ann))
    post.queue(ann)  # not sent yet
    clock.advance(timedelta(days=settings.NOTIFICATIONS_KEPT_DAYS - 1))
    prune_notifications(post.history)
    assert len(post.history.told_to(ann)) == 4

    clock.advance(timedelta(days=2))
    prune_notifications(post.history)
    assert [each["state"] for each in post.history.told_to(ann)] == ["queued"]
