"""Push messages: to apps by Firebase Cloud Messaging (fcm.py), to browsers by Web Push (web_push.py)."""

import base64
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import settings
from models.notifications import Contact, Delivery, Device
from workers import _delivery
from workers._outbound import Refused, read_url
from workers.resources import resource

from .wording import words

_HTTPS_PORT = 443
KEPT_SECONDS = 24 * 3600  # by the push service, for a device that is off


class Answer(Enum):
    """What a push service says of one message to one device."""

    TAKEN = "taken"
    GONE = "gone"  # there is no such device any more
    LATER = "later"  # perhaps at another time
    REFUSED = "refused"  # this message never


Push = Callable[[Device, dict[str, Any]], Answer]


@resource
def push(_delivery: _delivery.Delivery) -> Iterator[Push]:
    """``push(device, message)`` hands a message to the push service of a device."""
    yield hand_over


def hand_over(device: Device, message: dict[str, Any]) -> Answer:
    """Give ``message`` to the push service of ``device``."""
    # Loaded with the first message: a worker that never pushes does without 50 MB of libraries.
    answer: Answer = import_module(f"{__package__}.{device.kind}").send(device, message)
    return answer


def message_of(delivery: Delivery, contact: Contact) -> dict[str, Any]:
    """What a device shows, and what leads on from it: {"id", "title", "body", "data"}."""
    said = words(delivery.template, contact, delivery.data)
    return {"id": delivery.id.hex, "title": said.title, "body": said.lead, "data": delivery.data}


def is_push_service(endpoint: str) -> bool:
    """Whether an endpoint is a known push service: checked when it is registered, and again when it is called."""
    try:
        location = read_url(endpoint)
    except Refused:
        return False
    if is_stand_in(endpoint):
        return True
    known = any(location.host == each or location.host.endswith(f".{each}") for each in settings.WEB_PUSH_HOSTS)
    return known and location.scheme == "https" and location.port == _HTTPS_PORT


def is_stand_in(endpoint: str) -> bool:
    """Whether an endpoint is of the local stand-in, the only one without TLS and at a loopback address."""
    return settings.ENVIRONMENT == "local" and read_url(endpoint).origin == read_url(settings.WEB_PUSH_STAND_IN).origin


def public_key() -> str | None:
    """What a browser subscribes with, as base64url; None where there is no Web Push."""
    if not settings.VAPID_PRIVATE_KEY:
        return None
    padded = settings.VAPID_PRIVATE_KEY + "=" * (-len(settings.VAPID_PRIVATE_KEY) % 4)
    secret = int.from_bytes(base64.urlsafe_b64decode(padded), "big")
    public = ec.derive_private_key(secret, ec.SECP256R1()).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).decode().rstrip("=")
