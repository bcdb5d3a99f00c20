import pytest

import settings
from models.base import new_id, now
from models.errors import ProjectionBehind
from models.notifications import EMAIL
from tests.notifications.factories import (
    TOLD,
    certificate_issued,
    enrollment_created,
    lesson_completed,
    make_contact,
    payment_succeeded,
)
from workers.notifications.messages import (
    congratulate_on_course,
    congratulate_on_lesson,
    send_certificate,
    send_receipt,
    welcome_learner,
    welcome_user,
)
from workers.notifications.rules import RULES

handlers = pytest.mark.parametrize("handler", TOLD, ids=lambda handler: handler.__name__)


@handlers
def test_an_event_delivered_twice_makes_one_note_and_one_mail_at_most(session, post, handler):
    user_id = make_contact(session)
    event, event_id = TOLD[handler](user_id), new_id()
    for _ in range(2):
        post.handle(handler, event, event_id=event_id)
    post.deliver_poked()

    [note] = post.feed(user_id)
    said = [(mail["to"], mail["subject"], note["body"] in mail["text"]) for mail in post.server.mails]
    assert said == ([(["ann@example.com"], note["title"], True)] if is_mailed(event) else [])


@handlers
def test_two_events_are_told_one_by_one(session, post, handler):
    user_id = make_contact(session)
    events = [TOLD[handler](user_id) for _ in range(2)]
    for event in events:
        post.handle(handler, event)
    post.deliver_poked()

    assert len(post.feed(user_id)) == 2
    assert len(post.server.mails) == sum(map(is_mailed, events))


def is_mailed(event) -> bool:
    return EMAIL in RULES[type(event)].channels


@pytest.mark.parametrize(
    ("handler", "mailed"), [(congratulate_on_lesson, 0), (congratulate_on_course, 0), (send_certificate, 1)]
)
def test_of_a_completion_the_certificate_alone_is_mailed(session, post, handler, mailed):
    post.handle(handler, TOLD[handler](make_contact(session)))
    post.deliver_poked()

    assert len(post.server.mails) == mailed


@pytest.mark.parametrize(
    "handler", [each for each in TOLD if each is not welcome_user], ids=lambda handler: handler.__name__
)
def test_an_event_that_overtakes_its_user_is_sent_again(post, handler):
    user_id = new_id()
    with pytest.raises(ProjectionBehind):
        post.handle(handler, TOLD[handler](user_id))

    assert post.feed(user_id) == post.pokes == []


def test_a_handler_that_is_rolled_back_and_run_again_finds_what_it_wrote(session, post):
    user_id = make_contact(session)
    event, event_id = lesson_completed(user_id), new_id()
    with session.begin_nested() as savepoint:
        post.handle(congratulate_on_lesson, event, event_id=event_id)
        savepoint.rollback()
    post.handle(congratulate_on_lesson, event, event_id=event_id)

    assert len(post.feed(user_id)) == 1


def test_a_note_read_before_the_second_delivery_stays_read(session, post):
    user_id = make_contact(session)
    event, event_id = lesson_completed(user_id), new_id()
    post.handle(congratulate_on_lesson, event, event_id=event_id)
    [note] = post.feed(user_id)
    post.history.read(user_id, note["id"], at=now())
    post.handle(congratulate_on_lesson, event, event_id=event_id)

    assert post.history.unread(user_id) == 0


def test_a_note_leads_to_what_it_tells_of_and_holds_nothing_of_the_person(session, post):
    user_id = make_contact(session)
    event = payment_succeeded(user_id)
    post.handle(send_receipt, event)

    [note] = post.feed(user_id)
    assert note["data"]["event"] == "PAYMENT_SUCCEEDED"
    assert note["data"]["order_id"] == str(event.order_id)
    assert note["data"].keys().isdisjoint({"user_id", "sub", "pii"})
    assert note["read_at"] is note["seen_at"] is note["archived_at"] is None


def test_a_note_speaks_the_language_of_its_reader(session, post):
    user_id = make_contact(session, locale="ru-RU")
    post.handle(congratulate_on_lesson, lesson_completed(user_id))

    assert post.feed(user_id)[0]["title"] == "Урок пройден: Means and medians"


def test_the_courses_of_a_subscription_are_told_with_it_and_not_each(session, post):
    user_id = make_contact(session)
    post.handle(welcome_learner, enrollment_created(user_id, source="subscription"))

    assert post.feed(user_id) == []


def test_a_certificate_is_told_with_the_link_that_proves_it(session, post):
    user_id = make_contact(session)
    event = certificate_issued(user_id)
    post.handle(send_certificate, event)
    post.deliver_poked()

    [note], [mail] = post.feed(user_id), post.server.mails
    assert (note["data"]["code"], event.code in note["body"]) == (event.code, True)
    assert f"{settings.PUBLIC_URL}/v1/certificates/{event.code}" in mail["text"]
