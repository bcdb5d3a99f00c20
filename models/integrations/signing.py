"""Standard Webhooks signatures: HMAC-SHA256 over id, time and body. https://www.standardwebhooks.com"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

_PREFIX = "whsec_"
_KEY_BYTES = 32  # the specification requires 24 to 64


def new_secret() -> str:
    """Return a random signing secret in the format of Standard Webhooks."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def signatures(keys: Iterable[str], *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the webhook-signature header: one signature per key, of which one must match."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    macs = (hmac.digest(base64.b64decode(key.removeprefix(_PREFIX)), signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)
