"""What this service knows of a person, shown and forgotten."""

from sqlalchemy.orm import Session

from models.events import UserDeleted, UserExportRequested
from models.notifications import Contact, Recipient
from models.personal import forget, lay_out
from workers import task

from . import contacts
from .history import History
from .preferences import Choices


@task
def export_data(session: Session, history: History, choices: Choices, *, event: UserExportRequested) -> None:
    """Lay out a person's contact, what they have chosen, and all that they were told."""
    contact = session.get(Contact, event.user_id)
    known = {name: getattr(contact, name) for name in ("email", "name", "locale", "timezone")} if contact else None
    data = {
        "contact": known,
        "preferences": choices.of(event.user_id),
        "notifications": history.told_to(event.user_id),
    }
    lay_out(session, "notifications", event, data, told_of=Recipient.locked(session, event.user_id))


@task
def erase_data(session: Session, history: History, choices: Choices, *, event: UserDeleted) -> None:
    """Forget a person's contact, what they have chosen, and all that they were told."""
    contacts.part(session, event=event)  # first: whoever tells them something at this moment is waited for
    rows = 1 + history.erase(event.user_id) + choices.erase(event.user_id)
    forget(session, "notifications", event, rows=rows, kept=[], told_of=Recipient.locked(session, event.user_id))
