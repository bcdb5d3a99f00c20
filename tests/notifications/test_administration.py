from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from models.base import new_id
from models.errors import NotFound, NotReplayable
from tests.notifications.factories import certificate_issued, make_contact
from workers.notifications.administration import list_notifications, replay_notification
from workers.notifications.messages import send_certificate


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session)


def listed(post, *, limit: int = 100, after=None, **filters) -> list[str]:
    found = list_notifications(post.history, filters=filters, limit=limit, after=after)
    return [f"{told['channel']} {told['state']}" for told in found["items"]]


def test_what_was_told_is_found_by_whom_how_and_what_became_of_it(session, post, ann):
    delivery_id = post.queue(ann)
    post.deliver(delivery_id)
    post.queue(make_contact(session))

    assert sorted(listed(post)) == ["email queued", "email sent", "in_app delivered", "in_app delivered"]
    assert listed(post, user_id=str(ann), channel="email") == ["email sent"]
    assert listed(post, state="queued") == ["email queued"]


def test_what_was_told_is_paged_newest_first_none_twice_and_none_left_out(post, ann):
    for _ in range(3):
        post.handle(send_certificate, certificate_issued(ann))
    pages, after = [], None
    while not pages or after:
        found = list_notifications(post.history, filters={}, limit=2, after=after)
        pages.append([told["id"] for told in found["items"]])
        after = found["next"]

    assert [len(page) for page in pages] == [2, 2, 2]
    assert len({told_id for page in pages for told_id in page}) == 6


def replay(session, post, delivery_id: UUID) -> dict:
    return replay_notification(session, post.history, post.pokes, notification_id=delivery_id)


def test_a_replay_sends_once_more_and_tells_so(session, post, ann):
    delivery_id = post.queue(ann)
    post.deliver(delivery_id)
    assert replay(session, post, delivery_id)["state"] == "queued"
    assert post.deliver_poked() == 1

    assert [mail["headers"]["Message-ID"] for mail in post.server.mails] == [f"<{delivery_id}@coursebus.dev>"] * 2
    assert post.told() == [("NOTIFICATION_SENT", 1), ("NOTIFICATION_SENT", 2)]


def test_a_replay_asked_for_twice_is_one(session, post, ann):
    delivery_id = post.queue(ann)
    post.deliver(delivery_id)
    for _ in range(2):
        replay(session, post, delivery_id)
    post.deliver_poked()

    assert len(post.server.mails) == 2


def test_a_replay_asks_again_what_is_against_it(session, post, ann):
    delivery_id = post.queue(ann)
    post.choices.turn_off(ann, "progress", "email")
    post.deliver(delivery_id)
    replay(session, post, delivery_id)
    post.deliver_poked()

    assert post.standing(delivery_id) == ("skipped", "preference")


def test_a_note_of_the_feed_is_not_sent_again_nor_is_what_is_not_there(session, post, ann):
    post.queue(ann)
    [note] = post.feed(ann)

    with pytest.raises(NotReplayable):
        replay(session, post, UUID(note["id"]))
    with pytest.raises(NotFound):
        replay(session, post, new_id())
