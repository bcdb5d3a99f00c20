"""Export and erasure of the personal data of this service."""

from uuid import UUID

from sqlalchemy.orm import Session

from models.events import KeptData, UserDeleted, UserExportRequested
from models.notifications import Contact, Device, Recipient, Suppression
from models.notifications.reminders import forget_reminders, reminders_of
from models.personal import forget, lay_out
from workers import task

from . import contacts
from .history import History
from .preferences import Choices


@task
def export_data(session: Session, history: History, choices: Choices, *, event: UserExportRequested) -> None:
    """Export a user's contact, devices, preferences, reminders and notifications."""
    contact = session.get(Contact, event.user_id)
    known = (
        {name: getattr(contact, name) for name in ("email", "email_verified", "name", "locale", "timezone")}
        if contact
        else None
    )
    data = {
        "contact": known,
        "devices": [
            {"kind": device.kind, "address": device.address, "created_at": device.created_at}
            for device in Device.of(session, event.user_id)
        ],
        "preferences": choices.of(event.user_id),
        "reminders": reminders_of(session, event.user_id),
        "notifications": history.told_to(event.user_id),
    }
    lay_out(session, "notifications", event, data, told_of=Recipient.locked(session, event.user_id))


@task
def erase_data(session: Session, history: History, choices: Choices, *, event: UserDeleted) -> None:
    """Erase a user's contact, devices, preferences, reminders and notifications.

    The hash of a suppressed address is retained.
    """
    kept = _suppressed(session, event.user_id)
    contacts.part(session, event=event)  # first: its lock waits for handlers that notify this user now
    rows = 1 + history.erase(event.user_id) + choices.erase(event.user_id)
    rows += Device.forget_all(session, event.user_id) + forget_reminders(session, event.user_id)
    forget(session, "notifications", event, rows=rows, kept=kept, told_of=Recipient.locked(session, event.user_id))


def _suppressed(session: Session, user_id: UUID) -> list[KeptData]:
    contact = session.get(Contact, user_id)
    if contact is None or contact.email is None or not Suppression.reason_of(session, contact.email):
        return []
    return [KeptData(what="a hash of the address", why="It bounced or complained: nobody is to write to it again.")]
