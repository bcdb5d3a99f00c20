"""Send the event stream of the tenant: ``user.created`` after a sign-up, in the format of Auth0's webhooks."""

import json
import secrets

import settings
from ops.fakes import webhook_sender
from ops.fakes.store import Document, Documents

WEBHOOK_PATH = "/v1/webhooks/auth0"
SHOWN = ("user_id", "email", "email_verified", "name", "nickname", "picture", "identities", "created_at", "updated_at")


def user_created(db: Documents, user: Document) -> None:
    """Store the event of a new account in the same transaction (https://auth0.com/docs/customize/events)."""
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
    """POST one event with the token that the tenant shares with its receiver."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {settings.AUTH0_WEBHOOK_TOKENS[0]}"}
    status = webhook_sender.post(f"{settings.PUBLIC_URL}{WEBHOOK_PATH}", body, headers)
    return 200 <= status < 300, status
