from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from core.db import new_id
from models.errors import NotFound, NotificationNotReplayable
from tests.integration.notifications.factories import certificate_issued, make_contact
from workers.notifications.admin import list_notifications, replay_notification
from workers.notifications.event_handlers import send_certificate


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session)


def list_channel_states(harness, *, user_id: UUID | None = None, **filters: str) -> list[str]:
    found = list_notifications(harness.notification_store, user_id=user_id, filters=filters, limit=100, after=None)
    return [f"{each['channel']} {each['state']}" for each in found["items"]]


def test_notifications_are_filtered_by_user_channel_and_state(session, harness, ann):
    delivery_id = harness.queue(ann)
    harness.deliver(delivery_id)
    harness.queue(make_contact(session))

    assert sorted(list_channel_states(harness)) == [
        "email queued",
        "email sent",
        "in_app delivered",
        "in_app delivered",
    ]
    assert list_channel_states(harness, user_id=ann, channel="email") == ["email sent"]
    assert list_channel_states(harness, state="queued") == ["email queued"]


def test_notification_list_is_paged_newest_first(harness, ann):
    for _ in range(3):
        harness.handle(send_certificate, certificate_issued(ann))
    pages, after = [], None
    while not pages or after:
        found = list_notifications(harness.notification_store, filters={}, limit=2, after=after)
        pages.append([each["id"] for each in found["items"]])
        after = found["next"]

    assert [len(page) for page in pages] == [2, 2, 2]
    assert len({id_ for page in pages for id_ in page}) == 6


def replay(session, harness, delivery_id: UUID) -> dict:
    return replay_notification(session, harness.notification_store, harness.enqueued, notification_id=delivery_id)


def test_replay_resends_and_publishes_event(session, harness, ann):
    delivery_id = harness.queue(ann)
    harness.deliver(delivery_id)
    assert replay(session, harness, delivery_id)["state"] == "queued"
    assert harness.deliver_enqueued() == 1

    assert [mail["headers"]["Message-ID"] for mail in harness.server.mails] == [f"<{delivery_id}@coursebus.dev>"] * 2
    assert harness.published_events() == [("NOTIFICATION_SENT", 1), ("NOTIFICATION_SENT", 2)]


def test_repeated_replay_sends_once(session, harness, ann):
    delivery_id = harness.queue(ann)
    harness.deliver(delivery_id)
    for _ in range(2):
        replay(session, harness, delivery_id)
    harness.deliver_enqueued()

    assert len(harness.server.mails) == 2


def test_replay_rechecks_preferences(session, harness, ann):
    delivery_id = harness.queue(ann)
    harness.preference_store.turn_off(ann, "progress", "email")
    harness.deliver(delivery_id)
    replay(session, harness, delivery_id)
    harness.deliver_enqueued()

    assert harness.state_of(delivery_id) == ("skipped", "preference")


def test_replay_rejects_in_app_and_unknown_notifications(session, harness, ann):
    harness.queue(ann)
    [note] = harness.inbox(ann)

    with pytest.raises(NotificationNotReplayable):
        replay(session, harness, note["id"])
    with pytest.raises(NotFound):
        replay(session, harness, new_id())
