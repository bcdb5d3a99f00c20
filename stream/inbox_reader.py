"""Read the notification inbox for a stream: the notifications after a position, in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pymongo
from pymongo.errors import PyMongoError

import settings
from models.errors import Unavailable
from models.notification_inbox import inbox_filter, notification_response

PAGE = 100

InboxEntry = tuple[int, dict[str, Any]]  # position in the inbox, and the public fields


class InboxReader:
    """Reader of the notification inboxes in MongoDB."""

    def __init__(self) -> None:
        self._client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            settings.MONGO_URL,
            tz_aware=True,
            uuidRepresentation="standard",
            serverSelectionTimeoutMS=3000,
            timeoutMS=5000,
            maxPoolSize=16,
        )
        self._notifications = self._client.get_default_database("coursebus")["notifications"]

    def close(self) -> None:
        self._client.close()

    def ping(self) -> None:
        """Ask the server whether it answers. Raises PyMongoError."""
        self._client.admin.command("ping")

    def latest_position(self, user_id: UUID) -> int:
        """Return the position of the user's newest notification, or 0 if there is none. Raises Unavailable."""
        with _unavailable():
            newest = self._notifications.find_one(inbox_filter(user_id), sort=[("position", pymongo.DESCENDING)])
            return int(newest["position"]) if newest else 0

    def list_after(self, user_id: UUID, position: int) -> list[InboxEntry]:
        """Return the notifications after ``position`` that are not archived, oldest first, PAGE at most.

        Raises Unavailable.
        """
        later = {**inbox_filter(user_id), "position": {"$gt": position}, "archived_at": None}
        with _unavailable():
            found = self._notifications.find(later).sort("position", pymongo.ASCENDING).limit(PAGE)
            return [(notification["position"], notification_response(notification)) for notification in found]


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise Unavailable("MongoDB") from error
