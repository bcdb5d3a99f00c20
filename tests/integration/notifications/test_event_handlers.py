from datetime import timedelta

import msgspec
import pytest

import settings
from core.db import new_id, utc_now
from core.messaging.event_messages import ReceivedEvent
from models.errors import ProjectionNotReady
from models.notification_preferences import ChannelChoices
from models.notifications import EMAIL, Contact, Preferences
from models.notifications.reminders import LearningActivity, export_reminders
from tests.integration.notifications.factories import (
    EVENT_BY_HANDLER,
    certificate_issued,
    choose,
    enrollment_created,
    lesson_completed,
    make_contact,
    payment_succeeded,
)
from tests.support.statements import at_most
from workers.notifications.event_handlers import (
    send_certificate,
    send_course_completed,
    send_enrollment_confirmation,
    send_lesson_completed,
    send_receipt,
    send_welcome,
)
from workers.notifications.notification_rules import RULES

handlers = pytest.mark.parametrize("handler", EVENT_BY_HANDLER, ids=lambda handler: handler.__name__)


@handlers
def test_redelivered_event_notifies_once(session, harness, handler):
    user_id = make_contact(session)
    event, event_id = EVENT_BY_HANDLER[handler](user_id), new_id()
    for _ in range(2):
        harness.handle(handler, event, event_id=event_id)
    harness.deliver_enqueued()

    [note] = harness.inbox(user_id)
    sent = [(mail["to"], mail["subject"], note["body"] in mail["text"]) for mail in harness.server.mails]
    assert sent == ([(["ann@example.com"], note["title"], True)] if is_mailed(event) else [])


@handlers
def test_each_event_is_notified_separately(session, harness, handler):
    user_id = make_contact(session)
    events = [EVENT_BY_HANDLER[handler](user_id) for _ in range(2)]
    for event in events:
        harness.handle(handler, event)
    harness.deliver_enqueued()

    assert len(harness.inbox(user_id)) == 2
    assert len(harness.server.mails) == sum(map(is_mailed, events))


def is_mailed(event) -> bool:
    return EMAIL in RULES[type(event)].channels


@pytest.mark.parametrize(
    ("handler", "mailed"), [(send_lesson_completed, 0), (send_course_completed, 0), (send_certificate, 1)]
)
def test_completion_emails_certificate_only(session, harness, handler, mailed):
    harness.handle(handler, EVENT_BY_HANDLER[handler](make_contact(session)))
    harness.deliver_enqueued()

    assert len(harness.server.mails) == mailed


@pytest.mark.parametrize(
    "handler", [each for each in EVENT_BY_HANDLER if each is not send_welcome], ids=lambda handler: handler.__name__
)
def test_event_before_its_user_raises_projection_behind(harness, handler):
    user_id = new_id()
    with pytest.raises(ProjectionNotReady):
        harness.handle(handler, EVENT_BY_HANDLER[handler](user_id))

    assert harness.inbox(user_id) == harness.enqueued == []


def test_lessons_of_several_learners_take_five_statements(session, harness, plain_engine):
    """Each learner's own preferences and erasure count, also if the events share a message."""
    ann, bob, off, erased = [make_contact(session) for _ in range(4)]
    choose(harness.preference_store, off, Preferences(categories={"progress": ChannelChoices(in_app=False)}))
    Contact.erase(session, erased, at=utc_now())
    yesterday = lesson_completed(ann, course_id=new_id(), completed_at=utc_now() - timedelta(days=1))
    today = lesson_completed(ann, course_id=yesterday.course_id)
    completed = [lesson_completed(user_id) for user_id in (erased, bob, off)]
    session.flush()
    with at_most(5, plain_engine):
        send_lesson_completed(
            session,
            harness.dispatcher(),
            events=[
                ReceivedEvent(event=msgspec.to_builtins(event), event_id=new_id(), event_headers={})
                for event in (yesterday, *completed, today)
            ],
        )

    assert [len(harness.inbox(user_id)) for user_id in (ann, bob, off, erased)] == [2, 1, 0, 0]
    positions = [each["position"] for each in harness.notification_store.list_for_user(ann)]
    assert positions == sorted(positions)
    days = {row["kind"]: row.get("days") for row in export_reminders(session, ann)}
    assert days == {"inactivity": None, "streak": 2}
    assert export_reminders(session, erased) == []
    assert harness.pushed_user_ids.count(off) == 0


def test_enrollments_of_several_learners_take_six_statements(session, harness, plain_engine):
    """An enrollment of a subscription is not notified, and each delivery has the cause of its own event."""
    ann, bob, erased = [make_contact(session) for _ in range(3)]
    Contact.erase(session, erased, at=utc_now())
    by_subscription = enrollment_created(bob, source="subscription")
    enrolled = [enrollment_created(ann), enrollment_created(erased), by_subscription, enrollment_created(ann)]
    causes = [{"request_id": f"request {number}", "causation_id": str(new_id())} for number in range(4)]
    session.flush()
    with at_most(6, plain_engine):
        send_enrollment_confirmation(
            session,
            harness.dispatcher(),
            events=[
                ReceivedEvent(event=msgspec.to_builtins(event), event_id=new_id(), event_headers={}, cause=cause)
                for event, cause in zip(enrolled, causes, strict=True)
            ],
        )

    assert [len(harness.inbox(user_id)) for user_id in (ann, bob, erased)] == [2, 0, 0]
    mails = [each for each in harness.notification_store.list_for_user(ann) if each["channel"] == EMAIL]
    assert [each["cause"] for each in mails] == [causes[0], causes[3]]
    assert harness.deliver_enqueued() == 2
    assert [row["kind"] for row in export_reminders(session, bob)] == ["inactivity"]
    assert export_reminders(session, erased) == []


def test_access_that_ends_and_starts_in_one_message_is_stored_once(session, harness):
    ann, course_id = make_contact(session), new_id()
    enrolled = [
        enrollment_created(ann, course_id=course_id, enrolled_at=utc_now() - timedelta(days=days)) for days in (5, 9, 7)
    ]
    send_enrollment_confirmation(
        session,
        harness.dispatcher(),
        events=[
            ReceivedEvent(event=msgspec.to_builtins(event), event_id=new_id(), event_headers={}) for event in enrolled
        ],
    )

    [course] = LearningActivity.list_for_users(session, [ann])[ann]
    assert course.enrolled_at == enrolled[0].enrolled_at
    assert len(harness.inbox(ann)) == 3


def test_handler_rerun_after_rollback_notifies_once(session, harness):
    user_id = make_contact(session)
    event, event_id = lesson_completed(user_id), new_id()
    with session.begin_nested() as savepoint:
        harness.handle(send_lesson_completed, event, event_id=event_id)
        savepoint.rollback()
    harness.handle(send_lesson_completed, event, event_id=event_id)

    assert len(harness.inbox(user_id)) == 1


def test_redelivery_keeps_notification_read(session, harness):
    user_id = make_contact(session)
    event, event_id = lesson_completed(user_id), new_id()
    harness.handle(send_lesson_completed, event, event_id=event_id)
    [note] = harness.inbox(user_id)
    harness.notification_store.mark_read(user_id, note["id"], at=utc_now())
    harness.handle(send_lesson_completed, event, event_id=event_id)

    assert harness.notification_store.count_unread(user_id) == 0


def test_notification_data_has_event_and_no_pii(session, harness):
    user_id = make_contact(session)
    event = payment_succeeded(user_id)
    harness.handle(send_receipt, event)

    [note] = harness.inbox(user_id)
    assert note["data"]["event"] == "PAYMENT_SUCCEEDED"
    assert note["data"]["order_id"] == str(event.order_id)
    assert note["data"].keys().isdisjoint({"user_id", "sub", "pii"})
    assert note["read_at"] is note["seen_at"] is note["archived_at"] is None


def test_notification_uses_recipient_language(session, harness):
    user_id = make_contact(session, locale="ru-RU")
    harness.handle(send_lesson_completed, lesson_completed(user_id))

    assert harness.inbox(user_id)[0]["title"] == "Урок пройден: Means and medians"


def test_subscription_enrollment_is_not_notified(session, harness):
    user_id = make_contact(session)
    harness.handle(send_enrollment_confirmation, enrollment_created(user_id, source="subscription"))

    assert harness.inbox(user_id) == []


def test_certificate_notification_has_verification_link(session, harness):
    user_id = make_contact(session)
    event = certificate_issued(user_id)
    harness.handle(send_certificate, event)
    harness.deliver_enqueued()

    [note], [mail] = harness.inbox(user_id), harness.server.mails
    assert (note["data"]["code"], event.code in note["body"]) == (event.code, True)
    assert f"{settings.WEB_URL}/c/{event.code}" in mail["text"]
