"""Send deliveries by push: to apps by Firebase Cloud Messaging (fcm.py), to browsers by Web Push (web_push.py)."""

import base64
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import settings
from core.db import utc_now
from core.metrics import REJECTED, UNAVAILABLE, observe_external_call
from models.notifications import Contact, Delivery, DeliveryOutcome, DeliveryState, Device
from models.notifications.notification_store import NotificationStore
from models.notifications.preference_store import PreferenceStore
from models.notifications.recipients import Recipient
from workers import task
from workers.notifications.delivery import apply_outcome, claim, close
from workers.notifications.delivery_policy import delivery_blocker
from workers.notifications.reminders import is_still_applicable
from workers.notifications.rendering import render
from workers.runtime import execution
from workers.runtime.dependencies import dependency
from workers.runtime.execution import Transactions
from workers.runtime.safe_http import UrlNotAllowed, parse_url

_HTTPS_PORT = 443
MAX_PUSH_ATTEMPTS = 8  # about half an hour; a later push is of no use, as the notification is in the inbox
TTL_SECONDS = 24 * 3600  # how long the push service retains a message for an offline device


class PushResult(Enum):
    """Result of sending one message to one device."""

    ACCEPTED = "accepted"
    UNREGISTERED = "unregistered"  # the device is no longer registered
    RETRY = "retry"  # transient error: retry
    REJECTED = "rejected"  # permanent error of this message


Push = Callable[[Device, dict[str, Any]], PushResult]


@dependency
def push(_execution: execution.TaskExecution) -> Iterator[Push]:
    """Provide ``push(device, message)``, which sends a message by the push service of the device."""
    yield send


@task
def deliver_push(
    transactions: Transactions,
    notification_store: NotificationStore,
    preference_store: PreferenceStore,
    push: Push,
    *,
    delivery_id: UUID,
) -> None:
    """Send a due push message to all devices of its user; each device succeeds or fails independently.

    Devices that no longer exist are deleted. A retry sends only to devices that have not received the message.
    """
    if (delivery := claim(notification_store, delivery_id)) is None:
        return
    with transactions.begin() as session:
        result, contact = Recipient.read(session, delivery)
        if result:
            close(notification_store, delivery, result)
            return
        still_applies = contact is None or is_still_applicable(session, delivery, contact)
        devices = [each for each in Device.list_for_user(session, delivery.user_id) if each.id not in delivery.reached]
    if contact is None or not (devices or delivery.reached):
        outcome = DeliveryOutcome(DeliveryState.SKIPPED, "no_device")
    elif blocker := delivery_blocker(
        delivery,
        contact,
        preference_store,
        still_applies=still_applies,
        at=utc_now(),
        sent_since=notification_store.sent_since,
    ):
        outcome = blocker
    else:
        message = build_payload(delivery, contact)
        results = {device.id: push(device, message) for device in devices}
        outcome = _apply_push_results(transactions, notification_store, delivery, results)
    apply_outcome(transactions, notification_store, delivery, outcome)


def _apply_push_results(
    transactions: Transactions,
    notification_store: NotificationStore,
    delivery: Delivery,
    results: dict[UUID, PushResult],
) -> DeliveryOutcome:
    """Store the answers of the devices, delete unregistered devices, and return the outcome of the delivery."""
    if unregistered := [device_id for device_id, result in results.items() if result is PushResult.UNREGISTERED]:
        with transactions.begin() as session:
            Device.delete(session, *unregistered)
    accepted = [device_id for device_id, result in results.items() if result is PushResult.ACCEPTED]
    reached = [*delivery.reached, *accepted]
    if PushResult.RETRY in results.values() and delivery.attempts < MAX_PUSH_ATTEMPTS:
        notification_store.mark_devices_reached(delivery, reached)
        return DeliveryOutcome(DeliveryState.QUEUED, "not_accepted")
    if reached:
        return DeliveryOutcome(DeliveryState.SENT)
    return DeliveryOutcome(DeliveryState.FAILED, "unregistered" if unregistered else "not_accepted")


def send(device: Device, message: dict[str, Any]) -> PushResult:
    """Send ``message`` by the push service of ``device``."""
    # Import on first use: a worker that never pushes saves 50 MB of libraries.
    module = import_module(f"{__package__}.{device.kind}")
    with observe_external_call(device.kind, "send") as call:
        result: PushResult = module.send(device, message)
        call.outcome = _CALL_OUTCOMES.get(result, "ok")
    return result


_CALL_OUTCOMES = {PushResult.RETRY: UNAVAILABLE, PushResult.REJECTED: REJECTED}  # unregistered devices are expected


def build_payload(delivery: Delivery, contact: Contact) -> dict[str, Any]:
    """Return the content of the push message: {"id", "title", "body", "data"}. ``data`` is for links in the client."""
    rendered = render(delivery.template, contact, delivery.data)
    return {"id": delivery.id.hex, "title": rendered.title, "body": rendered.lead, "data": delivery.data}


def is_push_service(endpoint: str) -> bool:
    """Return whether the host of ``endpoint`` is a known push service. Checked at registration and before each call."""
    try:
        location = parse_url(endpoint)
    except UrlNotAllowed:
        return False
    if is_fake(endpoint):
        return True
    known = any(location.host == each or location.host.endswith(f".{each}") for each in settings.WEB_PUSH_HOSTS)
    return known and location.scheme == "https" and location.port == _HTTPS_PORT


def is_fake(endpoint: str) -> bool:
    """Return whether ``endpoint`` is the local fake. Only the fake may use HTTP and a loopback address."""
    return (
        settings.ENVIRONMENT == "local" and parse_url(endpoint).origin == parse_url(settings.WEB_PUSH_FAKE_URL).origin
    )


def public_key() -> str | None:
    """Return the VAPID public key as base64url; None if Web Push is not configured."""
    if not settings.VAPID_PRIVATE_KEY:
        return None
    padded = settings.VAPID_PRIVATE_KEY + "=" * (-len(settings.VAPID_PRIVATE_KEY) % 4)
    secret = int.from_bytes(base64.urlsafe_b64decode(padded), "big")
    public = ec.derive_private_key(secret, ec.SECP256R1()).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).decode().rstrip("=")
