"""Send notifications. They have no id and no signature; a receiver can only check the address of the sender."""

import json
from collections.abc import Callable

import settings
from ops.fakes import webhook_sender
from ops.fakes.store import Document, Documents

from . import objects

WEBHOOK_PATH = "/v1/webhooks/yookassa"
TRUSTED_ADDRESS = "127.0.0.2"  # stands for the networks that YooKassa publishes
UNTRUSTED_ADDRESS = "127.0.0.1"


def send(body: bytes) -> tuple[bool, int]:
    """POST one notification. Only status 200 accepts it."""
    status = _post(body, TRUSTED_ADDRESS)
    return status == 200, status


def _post(body: bytes, source_address: str) -> int:
    headers = {"Content-Type": "application/json"}
    return webhook_sender.post(f"{settings.PUBLIC_URL}{WEBHOOK_PATH}", body, headers, source_address=source_address)


def forge(db: Documents, wanted: Document) -> Callable[[], int]:
    """Prepare a forged notification: ``{"event", "object", "source"}``, all optional.

    It is sent from an untrusted address unless ``source`` is the trusted one. The fields of ``object`` override those
    of the real object with the same id, if any.
    """
    given = wanted.get("object") or {}
    event = wanted.get("event", "payment.succeeded")
    known = objects.public_view(db.get(str(given.get("id", ""))) or {})
    forged = known | {"id": objects.new_id(), "status": event.partition(".")[2]} | given
    body = json.dumps({"type": "notification", "event": event, "object": forged}, ensure_ascii=False).encode()
    return lambda: _post(body, wanted.get("source", UNTRUSTED_ADDRESS))
