"""The in-app feed: list, count, read and archive a user's notes."""

from typing import Any
from uuid import UUID

from models.base import now
from workers import task

from .history import History


@task
def list_notes(history: History, *, user_id: UUID, unread: bool, limit: int, after: int | None) -> dict[str, Any]:
    """Return a page of a user's notes, newest first: {"items", "next"}. ``next`` is the ``after`` of the next page."""
    return history.feed(user_id, unread=unread, limit=limit, after=after)


@task
def count_unread(history: History, *, user_id: UUID) -> dict[str, Any]:
    """Return the number of a user's unread notes: {"unread"}."""
    return {"unread": history.unread(user_id)}


@task
def read_note(history: History, *, user_id: UUID, note_id: UUID) -> dict[str, Any]:
    """Mark one of a user's notes as read. Raises NotFound."""
    return history.read(user_id, note_id, at=now())


@task
def read_all_notes(history: History, *, user_id: UUID) -> dict[str, Any]:
    """Mark all notes of a user as read. Returns {"unread"}: notes that were added during the call."""
    history.read_all(user_id, at=now())
    return {"unread": history.unread(user_id)}


@task
def archive_note(history: History, *, user_id: UUID, note_id: UUID) -> dict[str, Any]:
    """Archive one of a user's notes: the feed no longer lists it. Raises NotFound."""
    return history.archive(user_id, note_id, at=now())
