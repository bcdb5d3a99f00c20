"""Announcements of courses reach each learner once, as their preferences allow."""

from datetime import timedelta
from uuid import UUID

import settings
from core.db import new_id, utc_now
from core.messaging import task_queue
from models.events import CourseAnnounced
from models.notification_preferences import ChannelChoices
from models.notifications import Contact, Preferences
from tests.integration.notifications.factories import choose, make_contact, payment_succeeded
from workers.notifications import delivery
from workers.notifications.announcements import send_announcement
from workers.notifications.event_handlers import send_receipt

BODY = "We meet on Friday.\n\nThe link is {{ secret }} in the first lesson.\nSee you!"


def announcement(*user_ids: UUID, **fields) -> CourseAnnounced:
    values = {
        "announcement_id": new_id(),
        "course_id": new_id(),
        "course_title": "Bread",
        "subject": "Live session",
        "body": BODY,
        "user_ids": list(user_ids),
        "announced_at": utc_now(),
    }
    return CourseAnnounced(**values | fields)


def sweep(harness, clock) -> int:
    clock.advance(timedelta(seconds=10))
    return harness.sweep()


def test_each_learner_is_notified_once(session, harness, clock):
    learners = [make_contact(session, email=f"{name}@example.com") for name in ("ann", "bob")]
    event = announcement(*learners)

    for _ in range(2):
        send_announcement(session, harness.dispatcher(), event=event)
    sweep(harness, clock)

    for user_id in learners:
        [note] = harness.inbox(user_id)
        assert (note["title"], note["body"]) == ("Bread: Live session", "We meet on Friday.")
    assert sorted(mail["to"] for mail in harness.server.mails) == [["ann@example.com"], ["bob@example.com"]]
    text = harness.server.mails[0]["text"]
    assert [
        each for each in ("We meet on Friday.", "The link is {{ secret }} in", "See you!") if each not in text
    ] == []


def test_preferences_of_announcements_apply(session, harness, clock):
    user_id = make_contact(session)
    off = ChannelChoices(email=False, push=False, in_app=False)
    choose(harness.preference_store, user_id, Preferences(categories={"announcements": off}))

    send_announcement(session, harness.dispatcher(), event=announcement(user_id))
    sweep(harness, clock)

    assert (harness.inbox(user_id), harness.server.mails) == ([], [])


def test_mail_has_a_link_that_unsubscribes_from_announcements(session, harness, clock):
    send_announcement(session, harness.dispatcher(), event=announcement(make_contact(session)))
    sweep(harness, clock)

    [mail] = harness.server.mails
    assert "List-Unsubscribe" in mail["headers"]


def test_erased_learner_gets_nothing(session, harness, clock):
    erased, other = make_contact(session), make_contact(session)
    Contact.erase(session, erased, at=utc_now())

    send_announcement(session, harness.dispatcher(), event=announcement(erased, other))
    sweep(harness, clock)

    assert (len(harness.inbox(erased)), len(harness.inbox(other))) == (0, 1)


def test_announcement_is_delivered_by_the_sweep_after_receipts(session, harness, clock, monkeypatch):
    learners = [make_contact(session, email=f"{name}@example.com") for name in ("ann", "bob", "eve")]

    send_announcement(session, harness.dispatcher(), event=announcement(*learners))
    at_once = len(harness.enqueued)
    harness.handle(send_receipt, payment_succeeded(learners[0]))
    harness.enqueued.clear()  # the message was lost
    monkeypatch.setattr(delivery, "SWEEP_BATCH_SIZE", 2)
    found = [sweep(harness, clock) for _ in range(3)]

    assert (at_once, found) == (0, [2, 2, 0])
    subjects = [mail["headers"]["Subject"] for mail in harness.server.mails]
    assert ["Live session" in subject for subject in subjects] == [False, True, True, True]


def test_sweep_leaves_half_of_the_queue_to_events(session, harness, clock, monkeypatch):
    send_announcement(session, harness.dispatcher(), event=announcement(make_contact(session)))
    half = settings.QUEUE_LIMIT // 2
    with monkeypatch.context() as patch:
        patch.setattr(task_queue, "count_waiting", lambda _queue: half)
        while_full = sweep(harness, clock)

    assert (while_full, sweep(harness, clock)) == (0, 1)
