"""Preferences: what each user wants to be told by which channel, in MongoDB; read when something is to be sent."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
from pymongo.database import Database

from models.notifications import Preferences
from workers import task
from workers._delivery import Delivery
from workers.resources import resource

from .mongo import Document, mongo_or_unavailable


@resource
def choices(_delivery: Delivery) -> Iterator["Choices"]:
    """What users have chosen. Raises Unavailable where MongoDB does not answer."""
    with mongo_or_unavailable() as database:
        yield Choices(database)


class Choices:
    """The preferences of all users, a document each."""

    def __init__(self, database: Database[Document]) -> None:
        self._chosen = database["preferences"]

    def of(self, user_id: UUID) -> Preferences:
        """What a user has chosen, or all there is."""
        chosen = self._chosen.find_one({"_id": str(user_id)}) or {}
        # The embedded server turns a false that it updates into 0.
        return msgspec.convert(chosen, Preferences, strict=False)

    def keep(self, user_id: UUID, preferences: Preferences) -> None:
        """Replace what a user has chosen."""
        chosen = msgspec.to_builtins(preferences)
        self._chosen.update_one({"_id": str(user_id)}, {"$set": chosen}, upsert=True)

    def turn_off(self, user_id: UUID, category: str, channel: str) -> None:
        """Have no more of ``category`` by ``channel``; the rest stays as it is."""
        off = {f"categories.{category}.{channel}": False}
        self._chosen.update_one({"_id": str(user_id)}, {"$set": off}, upsert=True)

    def erase(self, user_id: UUID) -> int:
        """Forget what a user has chosen; returns how many documents that was."""
        return self._chosen.delete_one({"_id": str(user_id)}).deleted_count


@task
def show_preferences(choices: Choices, *, user_id: UUID) -> dict[str, Any]:
    """What a user has chosen, with every category that there is."""
    return _view(choices.of(user_id))


@task
def change_preferences(choices: Choices, *, user_id: UUID, preferences: Preferences) -> dict[str, Any]:
    """Put ``preferences`` in the place of what a user had chosen; a category that is not named is on."""
    choices.keep(user_id, preferences.complete())
    return _view(choices.of(user_id))


def _view(preferences: Preferences) -> dict[str, Any]:
    view: dict[str, Any] = msgspec.to_builtins(preferences.complete())
    return view
