"""Contacts: a projection of user profiles with address, name, language and time zone."""

from sqlalchemy.orm import Session

from models.events import UserCreated, UserDeleted, UserUpdated
from models.notifications import Contact
from workers import projection, task


def create_contact(session: Session, *, event: UserCreated) -> None:
    """Store the contact of a new user, as the identity provider states it. Called by ``send_welcome``."""
    Contact.upsert(session, event.user_id, version=1, pii=event.pii)


@task
def update_contact(session: Session, *, event: UserUpdated) -> None:
    """Update the contact from a changed profile. An event older than the stored version is ignored."""
    Contact.upsert(session, event.user_id, version=event.version, pii=event.pii)


def erase_contact(session: Session, *, event: UserDeleted) -> None:
    """Erase a user's contact. Called by ``erase_data``."""
    Contact.erase(session, event.user_id, at=event.deleted_at)


projection("notifications.contacts", clear_rows=Contact.clear, handlers=[create_contact, update_contact, erase_contact])
