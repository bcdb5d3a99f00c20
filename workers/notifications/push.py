"""Push messages to apps by Firebase Cloud Messaging (fcm.py) and to browsers by Web Push (web_push.py)."""

import base64
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import settings
from models.notifications import Contact, Delivery, Device
from workers.runtime import execution
from workers.runtime.dependencies import dependency
from workers.runtime.safe_http import UrlNotAllowed, parse_url

from .rendering import render

_HTTPS_PORT = 443
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


def send(device: Device, message: dict[str, Any]) -> PushResult:
    """Send ``message`` by the push service of ``device``."""
    # Import on first use: a worker that never pushes saves 50 MB of libraries.
    result: PushResult = import_module(f"{__package__}.{device.kind}").send(device, message)
    return result


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
