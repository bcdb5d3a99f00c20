"""A user's in-app notifications: the MongoDB filter, their public form, and the Redis channel for new ones."""

from typing import Any
from uuid import UUID

from .redis import cache_redis

ANNOUNCED = "notes"  # the Redis channel; a message is the id of a user with a new notification

_SHOWN = ("category", "title", "body", "data", "created_at", "seen_at", "read_at", "archived_at")


def feed_of(user_id: UUID | str) -> dict[str, Any]:
    """Return the MongoDB filter for the in-app notifications of a user."""
    return {"user_id": str(user_id), "channel": "in_app", "state": "delivered"}


def shown_note(note: dict[str, Any]) -> dict[str, Any]:
    """Return the public fields of a notification."""
    return {"id": note["_id"]} | {field: note[field] for field in _SHOWN}


def announce(user_id: UUID) -> None:
    """Wake the open streams of a user. The message may be lost: streams also poll at intervals."""
    cache_redis().publish(ANNOUNCED, str(user_id))
