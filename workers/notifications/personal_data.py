"""Export and erasure of the personal data of this service."""

from uuid import UUID

from sqlalchemy.orm import Session

from models.events import RetainedData, UserDeleted, UserExportRequested
from models.notifications import Contact, Device, NotificationSequence, Suppression
from models.notifications.notification_store import NotificationStore
from models.notifications.preference_store import PreferenceStore
from models.notifications.reminders import erase_reminders, export_reminders
from models.personal_data import erase_personal_data, store_export_part
from workers import task

from . import contacts


@task
def export_data(
    session: Session,
    notification_store: NotificationStore,
    preference_store: PreferenceStore,
    *,
    event: UserExportRequested,
) -> None:
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
            for device in Device.list_for_user(session, event.user_id)
        ],
        "preferences": preference_store.get(event.user_id),
        "reminders": export_reminders(session, event.user_id),
        "notifications": notification_store.list_for_user(event.user_id),
    }
    store_export_part(
        session,
        "notifications",
        event,
        data,
        aggregate=NotificationSequence.get_or_create_for_update(session, event.user_id),
    )


@task
def erase_data(
    session: Session, notification_store: NotificationStore, preference_store: PreferenceStore, *, event: UserDeleted
) -> None:
    """Erase a user's contact, devices, preferences, reminders and notifications.

    The hash of a suppressed address is retained.
    """
    kept = _suppressed(session, event.user_id)
    contacts.erase_contact(session, event=event)  # first: its lock waits for handlers that notify this user now
    rows = 1 + notification_store.erase(event.user_id) + preference_store.erase(event.user_id)
    rows += Device.erase(session, event.user_id) + erase_reminders(session, event.user_id)
    erase_personal_data(
        session,
        "notifications",
        event,
        rows=rows,
        retained=kept,
        aggregate=NotificationSequence.get_or_create_for_update(session, event.user_id),
    )


def _suppressed(session: Session, user_id: UUID) -> list[RetainedData]:
    contact = session.get(Contact, user_id)
    if contact is None or contact.email is None or not Suppression.find_reason(session, contact.email):
        return []
    return [
        RetainedData(
            description="a hash of the address",
            reason="The address bounced or complained; no mail may be sent to it again.",
        )
    ]
