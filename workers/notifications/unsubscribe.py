"""Unsubscribe links of mails: turn off e-mail for the category of the mail."""

from typing import Any

from sqlalchemy.orm import Session

from models.notifications import EMAIL, Contact, UnsubscribeLink
from models.notifications.preference_store import PreferenceStore
from workers import task

from .rendering import language_of


@task
def show_unsubscription(session: Session, preference_store: PreferenceStore, *, token: str) -> dict[str, Any]:
    """Return what a link unsubscribes from: {"category", "language", "subscribed"}. Raises UnsubscribeLinkInvalid."""
    return _view(session, preference_store, UnsubscribeLink.from_token(token))


@task
def unsubscribe(session: Session, preference_store: PreferenceStore, *, token: str) -> dict[str, Any]:
    """Turn off mails of the link's category. Idempotent; no effect for erased users. Raises UnsubscribeLinkInvalid."""
    link = UnsubscribeLink.from_token(token)
    contact = session.get(Contact, link.user_id, with_for_update={"read": True})
    if contact and not contact.erased_at:
        preference_store.turn_off(link.user_id, link.category, EMAIL)
    return _view(session, preference_store, link)


def _view(session: Session, preference_store: PreferenceStore, link: UnsubscribeLink) -> dict[str, Any]:
    contact = session.get(Contact, link.user_id)
    known = contact is not None and contact.erased_at is None
    return {
        "category": link.category,
        "language": language_of(contact.locale if contact else ""),
        "subscribed": known and preference_store.get(link.user_id).allow(link.category, EMAIL),
    }
