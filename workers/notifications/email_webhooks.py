"""Webhooks of the mail provider: accepted mails that were delivered, bounced or marked as spam.

Webhooks are signed by Standard Webhooks; duplicates are recognised by ``webhook-id``. The body is
{"type": "email.delivered" / "email.bounced" / "email.complained", "timestamp",
"data": {"email", "message_id": Message-ID of the mail or null, "permanent": whether a bounce is permanent}}. Webhooks
of providers with another format must be translated into this format before they reach this API.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

import settings
from core.db import utc_now
from core.log import get_logger
from core.webhook_signatures import verify_standard
from models.errors import WebhookMalformed
from models.notifications import DeliveryOutcome, DeliveryState, EmailEvent, Suppression
from models.notifications.notification_store import NotificationStore
from workers import task

log = get_logger(__name__)


class _EmailEventData(msgspec.Struct):
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=320)]
    message_id: str | None = None
    permanent: bool = True


class _EmailEventBody(msgspec.Struct):
    type: str
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    data: _EmailEventData


_STATES = {
    "email.delivered": DeliveryState.DELIVERED,
    "email.bounced": DeliveryState.BOUNCED,
    "email.complained": DeliveryState.COMPLAINED,
}


@task
def receive_email_event(
    session: Session, notification_store: NotificationStore, *, body: bytes, headers: dict[str, str]
) -> dict[str, Any]:
    """Apply a delivery report; duplicates have no effect. Raises SignatureInvalid, WebhookMalformed.

    After a permanent bounce or a complaint the address is suppressed: no mail is sent to it, receipts included.
    """
    event_id = verify_standard(body, headers, settings.EMAIL_WEBHOOK_SECRETS, at=utc_now())
    event = _parse(body)
    if EmailEvent(id=event_id, kind=event.type, received_at=utc_now()).insert_once(session) and event.type in _STATES:
        _apply(session, notification_store, event, _STATES[event.type])
    return {"received": True}


def _apply(
    session: Session, notification_store: NotificationStore, event: _EmailEventBody, state: DeliveryState
) -> None:
    is_permanent = state is DeliveryState.COMPLAINED or (state is DeliveryState.BOUNCED and event.data.permanent)
    if is_permanent:
        Suppression.insert_once(session, event.data.email, reason=state.value, since=event.timestamp)
    if delivery_id := _delivery_id_of(event.data.message_id):
        reason = None if state is DeliveryState.DELIVERED else "permanent" if is_permanent else "transient"
        notification_store.record_provider_report(delivery_id, DeliveryOutcome(state, reason), at=event.timestamp)
    log.info("email event received", state=state.value, delivery_id=delivery_id, suppressed=is_permanent)


def _parse(body: bytes) -> _EmailEventBody:
    try:
        return msgspec.json.decode(body, type=_EmailEventBody)
    except msgspec.DecodeError as error:
        raise WebhookMalformed(str(error)) from error


def _delivery_id_of(message_id: str | None) -> UUID | None:
    """Return the delivery id of a Message-ID; None if this system did not generate the Message-ID."""
    try:
        return UUID((message_id or "").strip("<> ").partition("@")[0])
    except ValueError:
        return None
