from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

import settings
from models.base import new_id, now
from models.errors import UnsubscribeLinkInvalid
from models.notifications import Contact, Unsubscription
from models.notifications.preferences import Channels
from tests.notifications.factories import certificate_issued, enrollment_created, make_contact
from workers.notifications.messages import send_certificate, welcome_learner
from workers.notifications.unsubscribing import show_unsubscription, unsubscribe


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session, locale="ru")


@pytest.fixture
def link(ann) -> str:
    return Unsubscription(ann, "courses").token(issued_at=now())


def test_a_link_ends_the_mails_of_its_category_and_no_others(session, post, ann, link):
    unsubscribe(session, post.choices, token=link)
    post.handle(welcome_learner, enrollment_created(ann))
    post.handle(welcome_learner, enrollment_created(ann))  # into another course: nobody asked for mails again
    post.handle(send_certificate, certificate_issued(ann))
    post.deliver_poked()

    assert [mail["subject"] for mail in post.server.mails] == ["Ваш сертификат: «Practical Statistics»"]
    assert len(post.feed(ann)) == 3


def test_a_link_used_twice_is_used_once(session, choices, ann, link):
    first = unsubscribe(session, choices, token=link)

    assert (
        unsubscribe(session, choices, token=link)
        == first
        == {
            "category": "courses",
            "language": "ru",
            "subscribed": False,
        }
    )
    assert choices.of(ann).categories["courses"] == Channels(email=False)


def test_looking_at_a_link_changes_nothing(session, choices, ann, link):
    assert show_unsubscription(session, choices, token=link)["subscribed"]
    assert choices.of(ann).allow("courses", "email")


@pytest.mark.parametrize("spoil", [lambda link: link[:-2], lambda link: link.swapcase(), lambda _: "", lambda _: "ü"])
def test_a_link_that_is_not_ours_is_a_404(session, choices, ann, link, spoil):
    for act in (show_unsubscription, unsubscribe):
        with pytest.raises(UnsubscribeLinkInvalid):
            act(session, choices, token=spoil(link))
    assert choices.of(ann).allow("courses", "email")


def test_the_link_of_somebody_who_has_gone_brings_nothing_back(session, choices, ann, link):
    Contact.erase(session, ann, at=now())
    unsubscribe(session, choices, token=link)

    assert choices.erase(ann) == 0


def test_the_link_of_nobody_answers_that_nothing_is_sent(session, choices):
    token = Unsubscription(new_id(), "courses").token(issued_at=now())

    assert unsubscribe(session, choices, token=token) == {
        "category": "courses",
        "language": "en",
        "subscribed": False,
    }


def test_a_link_expires(session, choices, ann):
    token = Unsubscription(ann, "courses").token(issued_at=now() - timedelta(days=settings.UNSUBSCRIBE_LINK_DAYS - 1))
    assert Unsubscription.of(token).category == "courses"

    token = Unsubscription(ann, "courses").token(issued_at=now() - timedelta(days=settings.UNSUBSCRIBE_LINK_DAYS + 1))
    with pytest.raises(UnsubscribeLinkInvalid):
        unsubscribe(session, choices, token=token)
    assert choices.of(ann).allow("courses", "email")
