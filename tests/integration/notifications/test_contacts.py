from uuid import UUID

from sqlalchemy.orm import Session

from core.db import new_id, utc_now
from models.events import UserUpdated
from models.notifications import Contact
from tests.integration.notifications.factories import make_contact, make_person, user_created
from workers.notifications.contacts import update_contact
from workers.notifications.event_handlers import send_welcome


def user_updated(user_id: UUID, version: int, **pii) -> UserUpdated:
    return UserUpdated(user_id=user_id, version=version, pii=make_person(**pii), updated_at=utc_now())


def stored_contact(session: Session, user_id: UUID) -> Contact:
    return session.get_one(Contact, user_id, populate_existing=True)


def test_user_update_changes_contact(session: Session):
    user_id = make_contact(session)
    update_contact(session, event=user_updated(user_id, 2, name="Анна", locale="ru", timezone="Europe/Moscow"))

    contact = stored_contact(session, user_id)
    assert (contact.name, contact.locale, contact.timezone, contact.version) == ("Анна", "ru", "Europe/Moscow", 2)


def test_older_event_does_not_overwrite_newer_contact(session: Session):
    user_id = new_id()
    for version, name in ((3, "third"), (2, "second"), (3, "third repeated")):
        update_contact(session, event=user_updated(user_id, version, name=name))

    assert stored_contact(session, user_id).name == "third"


def test_late_user_created_keeps_newer_contact(session: Session, dispatcher):
    user_id = new_id()
    update_contact(session, event=user_updated(user_id, 2, email="new@example.com"))
    send_welcome(session, dispatcher, event=user_created(user_id), event_id=new_id())

    assert stored_contact(session, user_id).email == "new@example.com"


def test_repeated_user_update_is_idempotent(session: Session):
    user_id = new_id()
    event = user_updated(user_id, 2)
    update_contact(session, event=event)
    update_contact(session, event=event)

    assert stored_contact(session, user_id).version == 2
