"""Implement events: list, retrieve, sign and send; also forged events."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable

import settings
from ops.fakes import webhook_sender
from ops.fakes.calls import Call
from ops.fakes.store import Document, Documents
from ops.fakes.stripe.api import StripeApi

from . import errors, objects

MAX_TYPES = 20  # in the filter of a list
WEBHOOK_PATH = "/v1/webhooks/stripe"


def routes(api: StripeApi) -> None:
    api.route("GET", "/v1/events", listed)
    api.route("GET", "/v1/events/<event_id>", retrieve)


def retrieve(call: Call, event_id: str) -> Document:
    event = objects.get_or_404(call, "event", event_id)
    return event | {"pending_webhooks": int(event_id in webhook_sender.undelivered(call.db))}


def listed(call: Call) -> Document:
    """Return events filtered by ``type``, ``types`` and ``delivery_success``."""
    events = call.db.find("event")
    waiting = webhook_sender.undelivered(call.db)
    types = call.message.get("types") or ([call.message["type"]] if "type" in call.message else None)
    if types and len(types) > MAX_TYPES:
        raise errors.invalid(f"You can pass at most {MAX_TYPES} types.", "types")
    if types:
        events = [event for event in events if event["type"] in types]
    if "delivery_success" in call.message:
        delivered = call.message["delivery_success"] == "true"
        events = [event for event in events if (event["id"] not in waiting) is delivered]
    shown = [event | {"pending_webhooks": int(event["id"] in waiting)} for event in events]
    return objects.page(call, shown, "/v1/events")


def emit_foreign_event(call: Call, kind: str) -> Document:
    """Send and list an event about any ``object`` that another system on the account caused.

    A given field replaces that of the event: ``{"data": null}`` makes a thin event of API v2.
    """
    fields = dict(call.message)
    return objects.emit(call, kind, fields.pop("object", {}), **fields)


def send(body: bytes) -> tuple[bool, int]:
    """POST one event. Stripe signs each attempt with its own timestamp."""
    status = _post(body, signature(body, settings.STRIPE_WEBHOOK_SECRETS[0], int(time.time())))
    return 200 <= status < 300, status


def signature(body: bytes, secret: str, timestamp: int) -> str:
    signed = f"{timestamp}.".encode() + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def _post(body: bytes, stripe_signature: str | None) -> int:
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Stripe/1.0"}
    if stripe_signature is not None:
        headers["Stripe-Signature"] = stripe_signature
    return webhook_sender.post(f"{settings.PUBLIC_URL}{WEBHOOK_PATH}", body, headers)


def forge(db: Documents, wanted: Document) -> Callable[[], int]:
    """Prepare a forged event: ``{"type", "object", "secret", "age_seconds", "signature", "id"}``, all optional.

    The secret is wrong unless given, a ``signature`` of null sends none, and a negative age is in the future.
    """
    now = int(time.time())
    event = {
        "id": wanted.get("id") or objects.new_id("evt"),
        "object": "event",
        "api_version": objects.API_VERSION,
        "created": now,
        "data": {"object": _forged_object(db, wanted.get("object") or {})},
        "livemode": bool(wanted.get("livemode", False)),
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": wanted.get("type", "payment_intent.succeeded"),
    }
    body = json.dumps(event).encode()
    secret = wanted.get("secret", "whsec_wrong")
    honest = signature(body, secret, now - int(wanted.get("age_seconds", 0)))
    return lambda: _post(body, wanted.get("signature", honest))


def _forged_object(db: Documents, wanted: Document) -> Document:
    """Return the real object with that id, if any, overridden by the fields of the forged one."""
    known = db.get(str(wanted.get("id", ""))) or {}
    return dict(objects.public_view(known)) | wanted
