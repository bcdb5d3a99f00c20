from uuid import UUID

from sqlalchemy.orm import Session

from models.base import new_id, now
from models.events import UserUpdated
from models.notifications import Contact
from tests.notifications.factories import make_contact, make_person, user_created
from workers.notifications.contacts import keep_contact
from workers.notifications.messages import welcome_user


def profile(user_id: UUID, version: int, **pii) -> UserUpdated:
    return UserUpdated(user_id=user_id, version=version, pii=make_person(**pii), updated_at=now())


def kept(session: Session, user_id: UUID) -> Contact:
    return session.get_one(Contact, user_id, populate_existing=True)


def test_a_changed_profile_changes_the_contact(session: Session):
    user_id = make_contact(session)
    keep_contact(session, event=profile(user_id, 2, name="Анна", locale="ru", timezone="Europe/Moscow"))

    contact = kept(session, user_id)
    assert (contact.name, contact.locale, contact.timezone, contact.version) == ("Анна", "ru", "Europe/Moscow", 2)


def test_an_older_event_never_overwrites_a_newer_one(session: Session):
    user_id = new_id()
    for version, name in ((3, "third"), (2, "second"), (3, "third again")):
        keep_contact(session, event=profile(user_id, version, name=name))

    assert kept(session, user_id).name == "third"


def test_a_welcome_that_comes_late_leaves_the_newer_contact(session: Session, desk):
    user_id = new_id()
    keep_contact(session, event=profile(user_id, 2, email="new@example.com"))
    welcome_user(session, desk, event=user_created(user_id), event_id=new_id())

    assert kept(session, user_id).email == "new@example.com"


def test_a_profile_kept_twice_is_kept_once(session: Session):
    user_id = new_id()
    event = profile(user_id, 2)
    keep_contact(session, event=event)
    keep_contact(session, event=event)

    assert kept(session, user_id).version == 2
