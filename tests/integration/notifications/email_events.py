"""Webhooks as the e-mail provider signs them."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from uuid import uuid4

import settings


def make_email_event(kind: str, email: str, **mail) -> bytes:
    report = {"type": f"email.{kind}", "timestamp": datetime.now(UTC).isoformat(), "data": {"email": email, **mail}}
    return json.dumps(report).encode()


def signature_headers(body: bytes, *, report_id: str | None = None, age_seconds: int = 0) -> dict[str, str]:
    """Return the headers of a signed webhook."""
    report_id = report_id or f"msg_{uuid4().hex}"
    sent_at = str(int(datetime.now(UTC).timestamp()) - age_seconds)
    key = base64.b64decode(settings.EMAIL_WEBHOOK_SECRETS[0].removeprefix("whsec_"))
    mac = hmac.digest(key, f"{report_id}.{sent_at}.".encode() + body, hashlib.sha256)
    signature = "v1," + base64.b64encode(mac).decode()
    return {"webhook-id": report_id, "webhook-timestamp": sent_at, "webhook-signature": f"v1a,other {signature}"}
