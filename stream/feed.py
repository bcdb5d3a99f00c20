"""Read the notification inbox for a stream: the notifications after a position, in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

import settings
from models.errors import Unavailable
from models.feed import feed_of, shown_note

PAGE = 100

Note = tuple[int, dict[str, Any]]  # position in the inbox, and the public fields


class Feed:
    """Reader of the notification inboxes in MongoDB."""

    def __init__(self) -> None:
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            settings.MONGO_URL, serverSelectionTimeoutMS=3000, timeoutMS=5000, maxPoolSize=16
        )
        self._notes = client.get_default_database("coursebus")["notifications"]

    def end(self, user_id: str) -> int:
        """Return the position of the user's newest notification, or 0 if there is none. Raises Unavailable."""
        with _unavailable():
            newest = self._notes.find_one(feed_of(user_id), sort=[("position", pymongo.DESCENDING)])
            return int(newest["position"]) if newest else 0

    def after(self, user_id: str, position: int) -> list[Note]:
        """Return the notifications after ``position``, oldest first, PAGE at most. Raises Unavailable."""
        later = {**feed_of(user_id), "position": {"$gt": position}}
        with _unavailable():
            found = self._notes.find(later).sort("position", pymongo.ASCENDING).limit(PAGE)
            return [(note["position"], shown_note(note)) for note in found]


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise Unavailable("MongoDB") from error
