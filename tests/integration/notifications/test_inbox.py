from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from core.db import new_id
from models.errors import NotFound
from tests.integration.notifications.factories import lesson_completed, make_contact
from tests.support.deliveries import call_handler
from workers.notifications.event_handlers import send_lesson_completed
from workers.notifications.inbox import archive_notification, count_unread, list_inbox, mark_all_read, mark_read


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session)


@pytest.fixture
def add_notifications(session: Session, dispatcher):
    """Return a function that adds notifications to a user's inbox."""

    def add_notifications(user_id: UUID, *lessons: str) -> None:
        for lesson in lessons:
            event = lesson_completed(user_id, lesson_title=lesson)
            call_handler(send_lesson_completed, session, dispatcher, event=event, event_id=new_id())

    return add_notifications


def titles(
    notification_store, user_id: UUID, *, unread: bool = False, limit: int = 100, after: int | None = None
) -> list[str]:
    notes = list_inbox(notification_store, user_id=user_id, unread=unread, limit=limit, after=after)["items"]
    return [note["title"].rpartition(" ")[2] for note in notes]


def ids(notification_store, user_id: UUID) -> list[UUID]:
    notes = list_inbox(notification_store, user_id=user_id, unread=False, limit=100, after=None)["items"]
    return [note["id"] for note in notes]


def test_inbox_paging_is_stable_while_it_grows(notification_store, ann, add_notifications):
    add_notifications(ann, "one", "two", "three", "four", "five")
    first = list_inbox(notification_store, user_id=ann, unread=False, limit=2, after=None)
    add_notifications(ann, "six")
    second = titles(notification_store, ann, limit=2, after=first["next"])
    last = list_inbox(notification_store, user_id=ann, unread=False, limit=3, after=first["next"])

    assert [note["title"].rpartition(" ")[2] for note in first["items"]] == ["five", "four"]
    assert second == ["three", "two"]
    assert last["next"] is None


def test_read_notification_is_no_longer_unread(notification_store, ann, add_notifications):
    add_notifications(ann, "one", "two")
    newest, _ = ids(notification_store, ann)
    note = mark_read(notification_store, user_id=ann, notification_id=newest)

    assert note["read_at"] == note["seen_at"] is not None
    assert titles(notification_store, ann, unread=True) == ["one"]
    assert titles(notification_store, ann) == ["two", "one"]
    assert count_unread(notification_store, user_id=ann) == {"unread": 1}


def test_second_read_keeps_first_read_time(notification_store, ann, add_notifications):
    add_notifications(ann, "one")
    [notification_id] = ids(notification_store, ann)
    first = mark_read(notification_store, user_id=ann, notification_id=notification_id)

    assert mark_read(notification_store, user_id=ann, notification_id=notification_id) == first


def test_mark_all_read_affects_own_notifications_only(session, notification_store, ann, add_notifications):
    bob = make_contact(session)
    add_notifications(ann, "one", "two")
    add_notifications(bob, "one")

    assert mark_all_read(notification_store, user_id=ann) == {"unread": 0}
    assert count_unread(notification_store, user_id=bob) == {"unread": 1}


def test_archived_notification_leaves_inbox_and_count(notification_store, ann, add_notifications):
    add_notifications(ann, "one", "two")
    newest, _ = ids(notification_store, ann)
    note = archive_notification(notification_store, user_id=ann, notification_id=newest)

    assert note["archived_at"] is not None
    assert titles(notification_store, ann) == ["one"]
    assert count_unread(notification_store, user_id=ann) == {"unread": 1}


@pytest.mark.parametrize("act", [mark_read, archive_notification])
def test_notification_of_another_user_is_not_found(session, notification_store, ann, add_notifications, act):
    add_notifications(ann, "one")
    [notification_id] = ids(notification_store, ann)

    with pytest.raises(NotFound):
        act(notification_store, user_id=make_contact(session), notification_id=notification_id)
    assert titles(notification_store, ann, unread=True) == ["one"]


@pytest.mark.parametrize("act", [mark_read, archive_notification])
def test_unknown_notification_is_not_found(notification_store, ann, act):
    with pytest.raises(NotFound):
        act(notification_store, user_id=ann, notification_id=uuid4())
