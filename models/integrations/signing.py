"""Standard Webhooks signatures of outgoing webhooks. https://www.standardwebhooks.com"""

import base64
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from standardwebhooks import Webhook

_PREFIX = "whsec_"
_KEY_BYTES = 32  # the specification requires 24 to 64


def new_secret() -> str:
    """Return a random signing secret in the format of Standard Webhooks."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def signatures(keys: Iterable[str], *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the webhook-signature header: one signature per key, of which one must match."""
    sent_at = datetime.fromtimestamp(timestamp, UTC)
    return " ".join(Webhook(key).sign(webhook_id, sent_at, body.decode()) for key in keys)
