"""Announcements of courses reach each learner once, as their preferences allow."""

from uuid import UUID

from core.db import new_id, utc_now
from models.events import CourseAnnounced
from models.notification_preferences import ChannelChoices
from models.notifications import Contact, Preferences
from tests.integration.notifications.factories import choose, make_contact
from workers.notifications.announcements import send_announcement

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


def test_each_learner_is_notified_once(session, harness):
    learners = [make_contact(session, email=f"{name}@example.com") for name in ("ann", "bob")]
    event = announcement(*learners)

    for _ in range(2):
        send_announcement(session, harness.dispatcher(), event=event)
    harness.deliver_enqueued()

    for user_id in learners:
        [note] = harness.inbox(user_id)
        assert (note["title"], note["body"]) == ("Bread: Live session", "We meet on Friday.")
    assert sorted(mail["to"] for mail in harness.server.mails) == [["ann@example.com"], ["bob@example.com"]]
    text = harness.server.mails[0]["text"]
    assert [
        each for each in ("We meet on Friday.", "The link is {{ secret }} in", "See you!") if each not in text
    ] == []


def test_preferences_of_announcements_apply(session, harness):
    user_id = make_contact(session)
    off = ChannelChoices(email=False, push=False, in_app=False)
    choose(harness.preference_store, user_id, Preferences(categories={"announcements": off}))

    send_announcement(session, harness.dispatcher(), event=announcement(user_id))
    harness.deliver_enqueued()

    assert (harness.inbox(user_id), harness.server.mails) == ([], [])


def test_mail_has_a_link_that_unsubscribes_from_announcements(session, harness):
    send_announcement(session, harness.dispatcher(), event=announcement(make_contact(session)))
    harness.deliver_enqueued()

    [mail] = harness.server.mails
    assert "List-Unsubscribe" in mail["headers"]


def test_erased_learner_gets_nothing(session, harness):
    erased, other = make_contact(session), make_contact(session)
    Contact.erase(session, erased, at=utc_now())

    send_announcement(session, harness.dispatcher(), event=announcement(erased, other))
    harness.deliver_enqueued()

    assert (len(harness.inbox(erased)), len(harness.inbox(other))) == (0, 1)
