"""Show and change a user's notification preferences."""

from typing import Any
from uuid import UUID

import msgspec

from models.notifications import Preferences
from models.notifications.preference_store import PreferenceStore
from workers import task


@task
def show_preferences(preference_store: PreferenceStore, *, user_id: UUID) -> dict[str, Any]:
    """Return a user's preferences with every existing category: {"version", "view"}."""
    return _versioned(preference_store, user_id)


@task
def change_preferences(
    preference_store: PreferenceStore, *, user_id: UUID, expected_version: int, preferences: Preferences
) -> dict[str, Any]:
    """Replace a user's preferences; a category that is not given is on. Raises PreconditionFailed."""
    preference_store.replace(user_id, preferences.complete(), expected_version=expected_version)
    return _versioned(preference_store, user_id)


def _versioned(preference_store: PreferenceStore, user_id: UUID) -> dict[str, Any]:
    # Read the version first: if the preferences change between the two reads, the returned version is outdated, and
    # a change based on it is rejected instead of overwriting the newer preferences.
    return {"version": preference_store.get_version(user_id), "view": _to_response(preference_store.get(user_id))}


def _to_response(preferences: Preferences) -> dict[str, Any]:
    view: dict[str, Any] = msgspec.to_builtins(preferences.complete())
    return view
