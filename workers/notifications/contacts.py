"""Contacts: the projection of profiles that tells whom to write to, and how."""

from sqlalchemy.orm import Session

from models.events import UserUpdated
from models.notifications import Contact
from workers import task


@task
def keep_contact(session: Session, *, event: UserUpdated) -> None:
    """Keep what a user's profile says now; an older event leaves it as it is."""
    Contact.keep(session, event.user_id, version=event.version, pii=event.pii)
