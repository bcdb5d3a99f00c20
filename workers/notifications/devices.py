"""A user's devices: told of when somebody signs in on one, forgotten when it is gone."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

import settings
from models.errors import NotFound, PushNotConfigured, PushServiceRefused, TooManyDevices
from models.notifications import Contact, Device
from models.notifications.devices import FCM, WEB_PUSH
from workers import task

from .push import is_push_service, public_key

MAX_DEVICES = 10  # each is a call; all of them are done within the lease of a delivery


class Subscription(msgspec.Struct):
    """What a browser's pushManager.subscribe() gives."""

    endpoint: str
    keys: dict[str, str]


@task
def register_device(
    session: Session, *, user_id: UUID, token: str | None = None, subscription: Subscription | None = None
) -> dict[str, Any]:
    """Push to this device from now on; known already, it is kept as it is. One that was another user's is no longer.

    Raises PushNotConfigured, PushServiceRefused, TooManyDevices.
    """
    Contact.of(session, user_id)  # locked: devices are counted one after another
    kind, address, keys = (
        (WEB_PUSH, subscription.endpoint, subscription.keys) if subscription else (FCM, token or "", {})
    )
    if subscription:
        _refuse_strange(address)
    others = [device for device in Device.of(session, user_id) if device.address != address]
    if len(others) >= MAX_DEVICES:
        raise TooManyDevices(str(len(others)))
    return _view(Device.keep(session, user_id, kind=kind, address=address, keys=keys))


@task
def list_devices(session: Session, *, user_id: UUID, after: UUID | None, limit: int) -> dict[str, Any]:
    """Return a page of a user's devices, the oldest first: {"items", "next", "web_push_key"}.

    ``web_push_key`` is what a browser subscribes with, or None.
    """
    found = [device for device in Device.of(session, user_id) if after is None or device.id > after]
    shown = found[:limit]
    following = shown[-1].id if len(found) > limit else None
    return {"items": [_view(device) for device in shown], "next": following, "web_push_key": public_key()}


@task
def remove_device(session: Session, *, user_id: UUID, device_id: UUID) -> None:
    """Push to a device no more. Raises NotFound."""
    device = session.get(Device, device_id)
    if device is None or device.user_id != user_id:
        raise NotFound("device", str(device_id))
    Device.forget(session, device_id)


def _refuse_strange(endpoint: str) -> None:
    """Refuse what is no push service: any client may claim to be a browser.

    Raises PushNotConfigured, PushServiceRefused.
    """
    if not settings.VAPID_PRIVATE_KEY:
        raise PushNotConfigured(WEB_PUSH)
    if not is_push_service(endpoint):
        raise PushServiceRefused(endpoint)


def _view(device: Device) -> dict[str, Any]:
    return {"id": device.id, "kind": device.kind, "created_at": device.created_at}
