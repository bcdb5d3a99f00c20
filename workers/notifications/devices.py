"""Register, list and remove the devices that receive a user's push messages."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from models.commands.notifications import WebPushSubscription
from models.errors import NotFound, PushNotConfigured, PushServiceNotAllowed, TooManyDevices
from models.notifications import Contact, Device
from models.notifications.devices import FCM, WEB_PUSH
from workers import task

from .channels.push import is_push_service, public_key

MAX_DEVICES = 10  # one call each; all calls must finish within the lease of a delivery


@task
def register_device(
    session: Session, *, user_id: UUID, token: str | None = None, subscription: WebPushSubscription | None = None
) -> dict[str, Any]:
    """Register a device for push messages. Idempotent; a device registered by another user moves to this user.

    Raises PushNotConfigured, PushServiceNotAllowed, TooManyDevices.
    """
    Contact.get_for_update(session, user_id)  # locks the row, so that concurrent calls cannot exceed MAX_DEVICES
    kind, address, keys = (
        (WEB_PUSH, subscription.endpoint, subscription.keys) if subscription else (FCM, token or "", {})
    )
    if subscription:
        _require_known_push_service(address)
    others = [device for device in Device.list_for_user(session, user_id) if device.address != address]
    if len(others) >= MAX_DEVICES:
        raise TooManyDevices(str(len(others)))
    return _view(Device.upsert(session, user_id, kind=kind, address=address, keys=keys))


@task
def list_devices(session: Session, *, user_id: UUID, after: UUID | None, limit: int) -> dict[str, Any]:
    """Return a page of a user's devices, oldest first: {"items", "next", "web_push_key"}.

    ``web_push_key`` is the VAPID public key for browsers; None if Web Push is not configured.
    """
    found = [device for device in Device.list_for_user(session, user_id) if after is None or device.id > after]
    shown = found[:limit]
    following = shown[-1].id if len(found) > limit else None
    return {"items": [_view(device) for device in shown], "next": following, "web_push_key": public_key()}


@task
def remove_device(session: Session, *, user_id: UUID, device_id: UUID) -> None:
    """Remove a device; it receives no more push messages. Raises NotFound."""
    device = session.get(Device, device_id)
    if device is None or device.user_id != user_id:
        raise NotFound("device", str(device_id))
    Device.delete(session, device_id)


def _require_known_push_service(endpoint: str) -> None:
    """Reject endpoints that are not known push services. Clients could otherwise make this server call any URL.

    Raises PushNotConfigured, PushServiceNotAllowed.
    """
    if not settings.VAPID_PRIVATE_KEY:
        raise PushNotConfigured(WEB_PUSH)
    if not is_push_service(endpoint):
        raise PushServiceNotAllowed(endpoint)


def _view(device: Device) -> dict[str, Any]:
    return {"id": device.id, "kind": device.kind, "created_at": device.created_at}
