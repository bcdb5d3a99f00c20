"""Notification preferences per user, category and channel, in MongoDB. They are read when a delivery is sent."""

from collections.abc import Iterable, Mapping
from uuid import UUID

import msgspec
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from models.errors import PreconditionFailed
from models.notification_preferences import Preferences

from .mongodb import Document


class PreferenceStore:
    """The preferences of all users: one document per user."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["preferences"]

    def get(self, user_id: UUID) -> Preferences:
        """Return a user's preferences; the defaults (everything on) if none are stored."""
        chosen = self._collection.find_one({"_id": user_id}) or {}
        return msgspec.convert(chosen, Preferences)

    def get_many(self, user_ids: Iterable[UUID]) -> Mapping[UUID, Preferences]:
        """Return the preferences of users by user id, as ``get`` does."""
        wanted = list(user_ids)
        if not wanted:
            return {}
        chosen = {document["_id"]: document for document in self._collection.find({"_id": {"$in": wanted}})}
        return {user_id: msgspec.convert(chosen.get(user_id, {}), Preferences) for user_id in wanted}

    def get_version(self, user_id: UUID) -> int:
        """Return the version of a user's preferences: 1 before the first change."""
        stored = self._collection.find_one({"_id": user_id}, {"changes": 1}) or {}
        return int(stored.get("changes", 0)) + 1

    def replace(self, user_id: UUID, preferences: Preferences, *, expected_version: int) -> None:
        """Replace a user's preferences. Raises PreconditionFailed if they changed since ``expected_version``.

        One write compares and increments the version, so that a concurrent unsubscription is not overwritten.
        """
        chosen = msgspec.to_builtins(preferences)
        changes = expected_version - 1
        if changes == 0:
            try:
                self._collection.insert_one({"_id": user_id, **chosen, "changes": 1})
            except DuplicateKeyError:
                raise PreconditionFailed("preferences", str(self.get_version(user_id))) from None
            return
        change = {"$set": chosen, "$inc": {"changes": 1}}
        if self._collection.update_one({"_id": user_id, "changes": changes}, change).matched_count == 0:
            raise PreconditionFailed("preferences", str(self.get_version(user_id)))

    def turn_off(self, user_id: UUID, category: str, channel: str) -> None:
        """Turn off ``category`` for ``channel``; other preferences are unchanged."""
        off = {f"categories.{category}.{channel}": False}
        self._collection.update_one({"_id": user_id}, {"$set": off, "$inc": {"changes": 1}}, upsert=True)

    def erase(self, user_id: UUID) -> int:
        """Delete a user's preferences; return the number of deleted documents."""
        return self._collection.delete_one({"_id": user_id}).deleted_count
