from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.orm import Session

import settings
from api.notifications import preferences as over_http
from core.db import new_id, utc_now
from models.notification_preferences import ChannelChoices
from models.notifications import CATEGORIES, Preferences, QuietHours
from tests.integration.notifications.factories import (
    certificate_issued,
    choose,
    course_completed,
    enrollment_created,
    lesson_completed,
    make_contact,
    payment_succeeded,
)
from workers.notifications.delivery import LEASE
from workers.notifications.event_handlers import (
    send_certificate,
    send_course_completed,
    send_enrollment_confirmation,
    send_lesson_completed,
    send_receipt,
)
from workers.notifications.notification_rules import RULES
from workers.notifications.preferences import change_preferences, show_preferences

BERLIN = ZoneInfo("Europe/Berlin")
ALL_CHANNELS_OFF = Preferences(
    categories={name: ChannelChoices(email=False, push=False, in_app=False) for name in CATEGORIES}
)


def quiet_until(start: str, end: str, at: str) -> str | None:
    """Return the end of quiet hours in Berlin as UTC, for a local time."""
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
        # Daylight saving time starts, then ends: the night is one hour shorter, then one hour longer.
        ("2026-03-28T23:00", "29 06:00"),
        ("2026-10-24T23:00", "25 07:00"),
    ],
)
def test_overnight_quiet_hours_end_in_user_timezone(at: str, ends: str | None):
    assert quiet_until("22:00", "08:00", at) == ends


@pytest.mark.parametrize(
    ("at", "ends"),
    [("2026-06-10T12:59", None), ("2026-06-10T13:00", "10 12:30"), ("2026-06-10T14:30", None)],
)
def test_quiet_hours_within_one_day(at: str, ends: str | None):
    assert quiet_until("13:00", "14:30", at) == ends


def test_quiet_hours_at_dst_gap():
    assert quiet_until("22:00", "02:30", "2026-03-29T01:30") == "29 01:30"  # 03:30 in Berlin


def test_quiet_hours_at_dst_fold():
    second_time = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    ends = QuietHours("22:00", "02:30").until(second_time, BERLIN)

    assert ends
    assert timedelta(0) < ends.astimezone(UTC) - second_time.astimezone(UTC) <= timedelta(minutes=20)


def test_gateway_and_rules_use_same_categories():
    assert over_http.CATEGORIES == CATEGORIES
    assert {rule.category for rule in RULES.values()} <= set(CATEGORIES)


def test_default_preferences_enable_all_channels(preference_store):
    chosen = show_preferences(preference_store, user_id=new_id())["view"]

    assert chosen["categories"].keys() == set(CATEGORIES)
    assert all(channel for category in chosen["categories"].values() for channel in category.values())
    assert (chosen["quiet_hours"], chosen["digest"]) == (None, "off")


def test_preferences_are_replaced_as_a_whole(preference_store):
    user_id = new_id()
    first = Preferences(categories={"progress": ChannelChoices(email=False)}, quiet_hours=QuietHours("22:00", "08:00"))
    view = change_preferences(preference_store, user_id=user_id, expected_version=1, preferences=first)["view"]
    assert view["categories"]["progress"] == {"email": False, "push": True, "in_app": True}
    assert view["quiet_hours"] == {"from": "22:00", "to": "08:00"}

    view = change_preferences(preference_store, user_id=user_id, expected_version=2, preferences=Preferences())["view"]
    assert view == show_preferences(preference_store, user_id=new_id())["view"]


def test_turning_off_one_channel_keeps_others(preference_store):
    user_id = new_id()
    choose(preference_store, user_id, Preferences(quiet_hours=QuietHours("22:00", "08:00")).complete())
    preference_store.turn_off(user_id, "courses", "email")

    chosen = preference_store.get(user_id)
    assert chosen.categories["courses"] == ChannelChoices(email=False)
    assert chosen.categories["progress"] == ChannelChoices()
    assert chosen.quiet_hours


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session, timezone="Europe/Berlin")


def channel_outcomes(harness, user_id: UUID) -> set[tuple[str, str, str | None]]:
    return {
        (each["channel"], each["state"], each["reason"])
        for each in harness.notification_store.list_for_user(user_id)
        if "reason" in each
    }


def test_disabled_channels_are_skipped_with_reason(harness, ann):
    choose(harness.preference_store, ann, ALL_CHANNELS_OFF)
    harness.handle(send_enrollment_confirmation, enrollment_created(ann))
    harness.deliver_enqueued()

    assert harness.inbox(ann) == harness.server.mails == []
    assert channel_outcomes(harness, ann) == {("email", "skipped", "preference"), ("in_app", "skipped", "preference")}
    assert harness.published_events() == []


def test_preferences_are_checked_at_send_time(harness, ann):
    delivery_id = harness.queue(ann)
    harness.preference_store.turn_off(ann, "progress", "email")
    harness.deliver(delivery_id)

    assert harness.state_of(delivery_id) == ("skipped", "preference")


def test_receipt_ignores_preferences_and_quiet_hours(harness, ann):
    choose(
        harness.preference_store,
        ann,
        Preferences(categories=ALL_CHANNELS_OFF.categories, quiet_hours=QuietHours("00:00", "23:59")),
    )
    harness.handle(send_receipt, payment_succeeded(ann))
    harness.deliver_enqueued()

    assert len(harness.inbox(ann)) == len(harness.server.mails) == 1


def test_mail_is_held_until_quiet_hours_end(harness, ann, clock):
    clock.set(datetime(2027, 6, 10, 23, tzinfo=BERLIN))
    choose(harness.preference_store, ann, Preferences(quiet_hours=QuietHours("22:00", "08:00")))
    delivery_id = harness.queue(ann)
    harness.deliver(delivery_id)
    assert harness.state_of(delivery_id) == ("held", "quiet_hours")
    assert len(harness.inbox(ann)) == 1  # the inbox ignores quiet hours

    clock.set(datetime(2027, 6, 11, 7, 59, tzinfo=BERLIN))
    assert harness.sweep() == 0
    clock.set(datetime(2027, 6, 11, 8, 1, tzinfo=BERLIN))
    assert harness.sweep() == 1
    assert harness.state_of(delivery_id) == ("sent", None)


def test_held_mail_is_skipped_when_preference_changes(harness, ann, clock):
    clock.set(datetime(2027, 6, 10, 23, tzinfo=BERLIN))
    choose(harness.preference_store, ann, Preferences(quiet_hours=QuietHours("22:00", "08:00")))
    delivery_id = harness.queue(ann)
    harness.deliver(delivery_id)
    harness.preference_store.turn_off(ann, "progress", "email")
    clock.set(datetime(2027, 6, 11, 9, tzinfo=BERLIN))
    harness.sweep()

    assert harness.state_of(delivery_id) == ("skipped", "preference")


def test_redelivered_event_is_skipped_once(harness, ann):
    choose(harness.preference_store, ann, ALL_CHANNELS_OFF)
    event, event_id = certificate_issued(ann), new_id()
    for _ in range(2):
        harness.handle(send_certificate, event, event_id=event_id)

    assert len(harness.notification_store.list_for_user(ann)) == 2  # one for each channel


def outcomes(harness, user_id: UUID, channel: str) -> list[tuple[str, str | None]]:
    return [
        (each["state"], each["reason"])
        for each in harness.notification_store.list_for_user(user_id)
        if each["channel"] == channel
    ]


def test_many_completions_send_one_mail(harness, ann):
    for _ in range(8):
        harness.handle(send_lesson_completed, lesson_completed(ann))
    harness.handle(send_course_completed, course_completed(ann))
    harness.handle(send_certificate, certificate_issued(ann))
    harness.deliver_enqueued()

    assert len(harness.inbox(ann)) == 10
    [mail] = harness.server.mails
    assert "You have completed the course “Practical Statistics”" in mail["text"]


def test_mails_per_category_are_limited_per_day(harness, ann, clock, monkeypatch):
    monkeypatch.setattr(settings, "NOTIFICATIONS_PER_DAY", 2)
    for _ in range(4):
        harness.handle(send_certificate, certificate_issued(ann))
    harness.handle(send_enrollment_confirmation, enrollment_created(ann))  # another category
    for _ in range(3):
        harness.handle(send_receipt, payment_succeeded(ann))  # mandatory
    harness.deliver_enqueued()
    assert outcomes(harness, ann, "email") == [
        *[("sent", None)] * 2,
        *[("skipped", "daily_limit")] * 2,
        *[("sent", None)] * 4,
    ]
    assert len(harness.inbox(ann)) == 8

    clock.advance(timedelta(hours=25))
    tomorrow = harness.queue(ann)
    harness.deliver(tomorrow)
    assert harness.state_of(tomorrow) == ("sent", None)


def test_quiet_hours_end_respects_daily_limit(harness, ann, clock, monkeypatch):
    monkeypatch.setattr(settings, "NOTIFICATIONS_PER_DAY", 1)
    clock.set(datetime(2027, 6, 10, 23, tzinfo=BERLIN))
    choose(harness.preference_store, ann, Preferences(quiet_hours=QuietHours("22:00", "08:00")))
    for _ in range(3):
        harness.deliver(harness.queue(ann))
    assert outcomes(harness, ann, "email") == [("held", "quiet_hours")] * 3

    clock.set(datetime(2027, 6, 11, 8, 1, tzinfo=BERLIN))
    harness.sweep()

    assert outcomes(harness, ann, "email") == [("sent", None), *[("skipped", "daily_limit")] * 2]
    assert len(harness.server.mails) == 1


def test_concurrent_deliveries_respect_daily_limit(harness, ann, monkeypatch):
    monkeypatch.setattr(settings, "NOTIFICATIONS_PER_DAY", 1)
    ids = [harness.queue(ann) for _ in range(2)]
    first, second = (harness.notification_store.claim(each, at=utc_now(), until=utc_now() + LEASE) for each in ids)

    since = utc_now() - timedelta(days=1)
    assert [harness.notification_store.sent_since(each, since) for each in (first, second)] == [0, 1]


def test_finished_notifications_expire_after_retention(harness, ann):
    delivered = harness.queue(ann)
    harness.deliver(delivered)
    harness.queue(ann)  # not sent yet

    found = harness.notification_store.list_for_user(ann)
    retention = timedelta(days=settings.NOTIFICATIONS_RETENTION_DAYS)
    assert [each.get("expires_at") for each in found if each["state"] == "queued"] == [None]
    finished = [each for each in found if each["state"] != "queued"]
    assert [each["expires_at"] - each["created_at"] for each in finished] == [retention] * 3

    harness.notification_store.requeue(delivered, at=utc_now())
    [requeued] = [each for each in harness.notification_store.list_for_user(ann) if each["id"] == delivered]
    assert requeued["expires_at"] is None


def test_lists_of_notifications_have_indexes(notification_store, mongo_database):
    indexes = [list(each["key"].items()) for each in mongo_database["notifications"].list_indexes()]

    for fields in (
        [("state", 1), ("sort_key", -1)],  # those of administrators, by state and all
        [("sort_key", -1)],
        [("state", 1), ("due_at", 1), ("sort_key", 1)],  # due deliveries
        [("user_id", 1), ("channel", 1), ("position", -1)],  # the inbox of a user
    ):
        assert fields in indexes


def test_database_deletes_notifications_at_their_expiry(notification_store, mongo_database):
    [ttl] = [each for each in mongo_database["notifications"].list_indexes() if "expireAfterSeconds" in each]
    assert (dict(ttl["key"]), ttl["expireAfterSeconds"]) == ({"expires_at": 1}, 0)
