"""Shared parts of YooKassa's objects: ids, times, lists, notifications.

Fields with a leading "_" are internal to the fake and never shown.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from ops.fakes import webhook_sender
from ops.fakes.calls import Call
from ops.fakes.store import Document

from . import errors

TIME_FIELDS = ("created_at", "captured_at")
BOUNDS = ("gte", "gt", "lte", "lt")


def new_id() -> str:
    return str(uuid.uuid4())


def timestamp(seconds: float) -> str:
    """Return Unix ``seconds`` in YooKassa's format: UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def get_or_404(call: Call, kind: str, object_id: str) -> Document:
    document = call.db.get(object_id, kind)
    if document is None:
        raise errors.missing(kind.capitalize(), f"{kind}_id")
    return document


def public_view(document: Document) -> Document:
    """Return ``document`` without internal and unset fields."""
    return {name: value for name, value in document.items() if not name.startswith("_") and value is not None}


def notify(call: Call, event: str, document: Document) -> None:
    body = {"type": "notification", "event": event, "object": public_view(document)}
    webhook_sender.add(call.db, event, json.dumps(body, ensure_ascii=False))


def metadata(message: Document) -> Document:
    """Return up to 16 short strings. Raises ApiError for others."""
    given = message.get("metadata") or {}
    fits = len(given) <= 16 and all(
        len(name) <= 32 and isinstance(value, str) and len(value) <= 512 for name, value in given.items()
    )
    if not fits:
        raise errors.invalid("Metadata holds at most 16 strings of 512 characters, with names of 32.", "metadata")
    return dict(given)


def page(call: Call, documents: list[Document]) -> Document:
    """Return a page of ``documents`` (newest first) by ``limit``, ``cursor`` and bounds such as ``created_at.gte``."""
    try:
        limit = int(call.message.get("limit", 10))
    except ValueError:
        limit = 0
    if not 1 <= limit <= 100:
        raise errors.invalid("The limit must be from 1 to 100.", "limit")
    found = [document for document in documents if _within(document, call.message)]
    start = _start(found, call.message.get("cursor"))
    chosen = found[start : start + limit]
    more = start + limit < len(found)
    listed: Document = {"type": "list", "items": [public_view(document) for document in chosen]}
    return listed | ({"next_cursor": chosen[-1]["id"]} if more else {})


def _start(documents: list[Document], cursor: str | None) -> int:
    if cursor is None:
        return 0
    for position, document in enumerate(documents):
        if document["id"] == cursor:
            return position + 1
    raise errors.invalid("The cursor is unknown.", "cursor")


def _within(document: Document, message: Document) -> bool:
    for field in TIME_FIELDS:
        for bound in BOUNDS:
            name = f"{field}.{bound}"
            if name in message and not _compares(document.get(field), bound, message[name], name):
                return False
    return True


def _compares(at: str | None, bound: str, limit: Any, parameter: str) -> bool:
    try:
        limit_at = datetime.fromisoformat(str(limit))
    except ValueError:
        raise errors.invalid("The time must be ISO 8601.", parameter) from None
    if limit_at.tzinfo is None:
        limit_at = limit_at.replace(tzinfo=UTC)
    if at is None:
        return False
    time = datetime.fromisoformat(at)
    return {"gte": time >= limit_at, "gt": time > limit_at, "lte": time <= limit_at, "lt": time < limit_at}[bound]
