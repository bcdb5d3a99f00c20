"""A user's feed as it lies in MongoDB, for all who write and read it, and how one hears of a new note."""

from typing import Any
from uuid import UUID

from .redis import cache_redis

ANNOUNCED = "notes"  # the Redis channel on which each new note is announced, by the id of its user alone

_SHOWN = ("category", "title", "body", "data", "created_at", "seen_at", "read_at", "archived_at")


def feed_of(user_id: UUID | str) -> dict[str, Any]:
    """The condition that a document is a note in the feed of this user."""
    return {"user_id": str(user_id), "channel": "in_app", "state": "delivered"}


def shown_note(note: dict[str, Any]) -> dict[str, Any]:
    """A note as its user sees it."""
    return {"id": note["_id"]} | {field: note[field] for field in _SHOWN}


def announce(user_id: UUID) -> None:
    """Wake whoever shows this user's feed as it grows. It may be lost: they look by themselves now and then."""
    cache_redis().publish(ANNOUNCED, str(user_id))
