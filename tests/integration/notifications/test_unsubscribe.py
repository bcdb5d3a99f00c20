from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

import settings
from core.db import new_id, utc_now
from models.errors import UnsubscribeLinkInvalid
from models.notification_preferences import ChannelChoices
from models.notifications import Contact, UnsubscribeLink
from tests.integration.notifications.factories import certificate_issued, enrollment_created, make_contact
from workers.notifications.event_handlers import send_certificate, send_enrollment_confirmation
from workers.notifications.unsubscribe import show_unsubscription, unsubscribe


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session, locale="ru")


@pytest.fixture
def link(ann) -> str:
    return UnsubscribeLink(ann, "courses").token(issued_at=utc_now())


def test_link_unsubscribes_from_its_category_only(session, harness, ann, link):
    unsubscribe(session, harness.preference_store, token=link)
    harness.handle(send_enrollment_confirmation, enrollment_created(ann))
    harness.handle(
        send_enrollment_confirmation, enrollment_created(ann)
    )  # a second enrolment does not undo the unsubscribe
    harness.handle(send_certificate, certificate_issued(ann))
    harness.deliver_enqueued()

    assert [mail["subject"] for mail in harness.server.mails] == ["Ваш сертификат: «Practical Statistics»"]
    assert len(harness.inbox(ann)) == 3


def test_unsubscribe_is_idempotent(session, preference_store, ann, link):
    first = unsubscribe(session, preference_store, token=link)

    assert (
        unsubscribe(session, preference_store, token=link)
        == first
        == {
            "category": "courses",
            "language": "ru",
            "subscribed": False,
        }
    )
    assert preference_store.get(ann).categories["courses"] == ChannelChoices(email=False)


def test_viewing_link_does_not_unsubscribe(session, preference_store, ann, link):
    assert show_unsubscription(session, preference_store, token=link)["subscribed"]
    assert preference_store.get(ann).allow("courses", "email")


@pytest.mark.parametrize("spoil", [lambda link: link[:-2], lambda link: link.swapcase(), lambda _: "", lambda _: "ü"])
def test_invalid_link_is_rejected(session, preference_store, ann, link, spoil):
    for act in (show_unsubscription, unsubscribe):
        with pytest.raises(UnsubscribeLinkInvalid):
            act(session, preference_store, token=spoil(link))
    assert preference_store.get(ann).allow("courses", "email")


def test_unsubscribe_after_erasure_is_noop(session, preference_store, ann, link):
    Contact.erase(session, ann, at=utc_now())
    unsubscribe(session, preference_store, token=link)

    assert preference_store.erase(ann) == 0


def test_unsubscribe_of_unknown_user_returns_unsubscribed(session, preference_store):
    token = UnsubscribeLink(new_id(), "courses").token(issued_at=utc_now())

    assert unsubscribe(session, preference_store, token=token) == {
        "category": "courses",
        "language": "en",
        "subscribed": False,
    }


def test_unsubscribe_link_expires(session, preference_store, ann):
    token = UnsubscribeLink(ann, "courses").token(
        issued_at=utc_now() - timedelta(days=settings.UNSUBSCRIBE_LINK_DAYS - 1)
    )
    assert UnsubscribeLink.from_token(token).category == "courses"

    token = UnsubscribeLink(ann, "courses").token(
        issued_at=utc_now() - timedelta(days=settings.UNSUBSCRIBE_LINK_DAYS + 1)
    )
    with pytest.raises(UnsubscribeLinkInvalid):
        unsubscribe(session, preference_store, token=token)
    assert preference_store.get(ann).allow("courses", "email")
