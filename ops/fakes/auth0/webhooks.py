"""The tenant's event stream: ``user.created`` when somebody signs up, as Auth0 sends it to a webhook."""

import json
import secrets

import settings
from ops.fakes import webhook_sender
from ops.fakes.store import Document, Documents

WEBHOOK_PATH = "/v1/webhooks/auth0"
SHOWN = ("user_id", "email", "email_verified", "name", "nickname", "picture", "identities", "created_at", "updated_at")


def user_created(db: Documents, user: Document) -> None:
    """Send the event of a new account, with the change itself (https://auth0.com/docs/customize/events)."""
    event = {
        "specversion": "1.0",
        "id": f"evt_{secrets.token_hex(8)}",
        "source": f"urn:auth0:{settings.AUTH0_DOMAIN}",
        "type": "user.created",
        "time": user["created_at"],
        "data": {"object": {name: user[name] for name in SHOWN}},
    }
    webhook_sender.add(db, "user.created", json.dumps(event, ensure_ascii=False), event["id"])


def send(body: bytes) -> tuple[bool, int]:
    """POST one event with the token that the tenant and its receiver share."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {settings.AUTH0_WEBHOOK_TOKENS[0]}"}
    status = webhook_sender.post(f"{settings.PUBLIC_URL}{WEBHOOK_PATH}", body, headers)
    return 200 <= status < 300, status
