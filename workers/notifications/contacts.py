"""Contacts: the projection of profiles that tells whom to write to, and how."""

from sqlalchemy.orm import Session

from models.events import UserCreated, UserDeleted, UserUpdated
from models.notifications import Contact
from workers import projection, task


def meet(session: Session, *, event: UserCreated) -> None:
    """Keep what the identity provider said of a new user; a part of welcoming."""
    Contact.keep(session, event.user_id, version=1, pii=event.pii)


@task
def keep_contact(session: Session, *, event: UserUpdated) -> None:
    """Keep what a user's profile says now; an older event leaves it as it is."""
    Contact.keep(session, event.user_id, version=event.version, pii=event.pii)


def part(session: Session, *, event: UserDeleted) -> None:
    """Forget a person; a part of erasing."""
    Contact.erase(session, event.user_id, at=event.deleted_at)


projection("notifications.contacts", forget=Contact.forget, folds=[meet, keep_contact, part])
