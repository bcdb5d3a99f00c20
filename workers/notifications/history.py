"""Notification history in MongoDB: one collection of feed notes and deliveries, one document per channel.

A document's ``_id`` is derived from event, recipient and channel, so that writes are idempotent. Ids and times are
stored as text, because the embedded server does not match binary ids and changes the type of a time that it updates.
All times have the same length, so that they sort as text. Null is matched by ``$eq``, also because of that server.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.database import Database

from models.base import new_id
from models.cache import changed, notes_of
from models.errors import NotFound
from models.feed import feed_of, shown_note
from models.log import bound_cause
from models.notifications import EMAIL, IN_APP, Delivery, Notice, Outcome, State
from workers import _delivery
from workers.resources import RESOURCES, Remember, resource

from .mongo import Document, mongo_or_unavailable
from .wording import Words

_TOLD_FIELDS = {
    **dict.fromkeys(("user_id", "event_id", "category", "channel", "state", "created_at", "data")),
    "reason": None,
    "attempts": 0,
    "due_at": None,
    "ended_at": None,  # absent in feed notes
}
_OPEN = [State.QUEUED.value, State.HELD.value, State.SENDING.value]
_TAKEN = [State.SENT.value, State.DELIVERED.value, State.BOUNCED.value, State.COMPLAINED.value]
_NULL = {"$eq": None}

_indexed: set[str] = set()  # databases in which this process has created the indexes


@resource
def history(delivery: _delivery.Delivery) -> Iterator["History"]:
    """Provide the notification history. Raises Unavailable if MongoDB does not respond."""
    with mongo_or_unavailable() as database, RESOURCES["remember"](delivery) as remember:
        yield History(database, remember)


class History:
    """The notifications of all users. Each change of a feed invalidates its cache entry after the commit."""

    def __init__(self, database: Database[Document], remember: Remember) -> None:
        self._told = database["notifications"]
        self._remember = remember
        if database.name not in _indexed:
            self._told.create_index([("user_id", ASCENDING), ("channel", ASCENDING), ("position", DESCENDING)])
            self._told.create_index([("state", ASCENDING), ("due_at", ASCENDING)])
            self._told.create_index([("state", ASCENDING), ("listed_as", DESCENDING)])
            self._told.create_index([("listed_as", DESCENDING)])
            self._told.create_index([("created_at", ASCENDING)])
            _indexed.add(database.name)

    # Writes of the event handlers.

    def add_note(self, notice: Notice, words: Words, *, position: int) -> None:
        """Add an unread note to the user's feed. The feed is ordered by ``position``."""
        note = {
            "state": State.DELIVERED.value,
            "position": position,
            "title": words.title,
            "body": words.lead,
            "seen_at": None,
            "read_at": None,
            "archived_at": None,
        }
        self._add(notice, IN_APP, note)
        self._outdate(notice.user_id)

    def add_delivery(self, notice: Notice, channel: str) -> UUID:
        """Add a delivery that is due immediately; return its id."""
        delivery = {
            "template": notice.template,
            "mandatory": notice.mandatory,
            "state": State.QUEUED.value,
            "reason": None,
            "attempts": 0,
            "due_at": text(notice.created_at),
            "ended_at": None,
            "cause": bound_cause(),
        }
        return self._add(notice, channel, delivery)

    def add_skipped(self, notice: Notice, channel: str, reason: str) -> None:
        """Record why a notice is not sent by ``channel``."""
        skipped = {"state": State.SKIPPED.value, "reason": reason, "ended_at": text(notice.created_at)}
        self._add(notice, channel, skipped)

    def _add(self, notice: Notice, channel: str, shown: Document) -> UUID:
        told_id = notice.id_on(channel)
        document = {
            "user_id": str(notice.user_id),
            "event_id": str(notice.event_id),
            "channel": channel,
            "category": notice.category,
            "data": notice.data,
            "created_at": text(notice.created_at),
            "listed_as": new_id().hex,  # sort key: unique and increasing with time
            **shown,
        }
        self._told.update_one({"_id": str(told_id)}, {"$setOnInsert": document}, upsert=True)
        return told_id

    # Export and erasure.

    def told_to(self, user_id: UUID) -> list[Document]:
        """Return all notifications of a user, oldest first."""
        found = self._told.find({"user_id": str(user_id)}).sort("created_at", ASCENDING)
        return [{("id" if name == "_id" else name): value for name, value in each.items()} for each in found]

    def erase(self, user_id: UUID) -> int:
        """Delete all notifications of a user; return the number of deleted documents."""
        return self._told.delete_many({"user_id": str(user_id)}).deleted_count

    # Used by the deliver_* tasks and their jobs.

    def due(self, *, before: datetime, limit: int) -> list[tuple[UUID, str]]:
        """Return open deliveries that were due at or before ``before``, longest overdue first: (id, channel)."""
        waiting = {"state": {"$in": _OPEN}, "due_at": {"$lte": text(before)}}
        found = self._told.find(waiting, {"_id": 1, "channel": 1}).sort("due_at", ASCENDING).limit(limit)
        return [(UUID(document["_id"]), document["channel"]) for document in found]

    def claim(self, delivery_id: UUID, *, at: datetime, until: datetime) -> Delivery | None:
        """Claim a due delivery; return None if it is not due, claimed by another worker or ended.

        The claim expires at ``until``; another worker may then claim the delivery.
        """
        claimed = self._told.find_one_and_update(
            {"_id": str(delivery_id), "state": {"$in": _OPEN}, "due_at": {"$lte": text(at)}},
            {"$set": {"state": State.SENDING.value, "due_at": text(until)}, "$inc": {"attempts": 1}},
            return_document=ReturnDocument.AFTER,
        )
        return msgspec.convert({**claimed, "id": claimed["_id"]}, Delivery, strict=False) if claimed else None

    def sent_since(self, delivery: Delivery, since: datetime) -> int:
        """Count other deliveries with the same user, channel and category that were sent since ``since``.

        Deliveries in progress count if they were created earlier. So of two concurrent ones only the first is counted
        by the other, and not both are refused at the limit.
        """
        like = {
            "user_id": str(delivery.user_id),
            "channel": delivery.channel,
            "category": delivery.category,
            "_id": {"$ne": str(delivery.id)},
        }
        sent = self._told.count_documents({**like, "state": {"$in": _TAKEN}, "ended_at": {"$gte": text(since)}})
        under_way = {"state": State.SENDING.value, "listed_as": {"$lt": delivery.listed_as}}
        return sent + self._told.count_documents({**like, **under_way})

    def prune(self, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` notes and ended deliveries created before ``before``; return the number deleted."""
        old = {"created_at": {"$lt": text(before)}, "state": {"$nin": _OPEN}}
        ids = [each["_id"] for each in self._told.find(old, {"_id": 1}).limit(limit)]
        return self._told.delete_many({"_id": {"$in": ids}}).deleted_count if ids else 0

    def reach(self, delivery: Delivery, devices: list[str]) -> None:
        """Store which devices have received a claimed delivery, so that a retry skips them."""
        self._settle(delivery, {"reached": devices})

    def put_back(self, delivery: Delivery, outcome: Outcome, *, due_at: datetime) -> None:
        """Reschedule a claimed delivery for ``due_at``."""
        self._settle(delivery, {"state": outcome.state.value, "reason": outcome.reason, "due_at": text(due_at)})

    def end(self, delivery: Delivery, outcome: Outcome, *, at: datetime) -> None:
        """Store the final outcome of a claimed delivery."""
        ended = {"state": outcome.state.value, "reason": outcome.reason, "due_at": None, "ended_at": text(at)}
        self._settle(delivery, ended)

    def report(self, delivery_id: UUID, outcome: Outcome, *, at: datetime) -> None:
        """Store a report on an e-mail that the provider accepted. "delivered" never replaces a bounce."""
        before = [State.SENDING, State.SENT]
        if outcome.state is not State.DELIVERED:
            before += [State.DELIVERED, State.BOUNCED]
        reported = {"_id": str(delivery_id), "channel": EMAIL, "state": {"$in": [state.value for state in before]}}
        later = {"state": outcome.state.value, "reason": outcome.reason, "due_at": None, "ended_at": text(at)}
        self._told.update_one(reported, {"$set": later})

    def _settle(self, delivery: Delivery, outcome: Document) -> None:
        # If another worker has claimed the delivery since, ``attempts`` is higher and only that worker may write.
        ours = {"_id": str(delivery.id), "state": State.SENDING.value, "attempts": delivery.attempts}
        self._told.update_one(ours, {"$set": outcome})

    # Administration.

    def list_told(self, filters: dict[str, str], *, limit: int, after: str | None) -> Document:
        """Return a page of the notifications of all users, newest first: {"items", "next"}."""
        asked: Document = {**filters, **({"listed_as": {"$lt": after}} if after else {})}
        found = list(self._told.find(asked).sort("listed_as", DESCENDING).limit(limit + 1))
        more = len(found) > limit
        return {
            "items": [_told_view(document) for document in found[:limit]],
            "next": found[limit - 1]["listed_as"] if more else None,
        }

    def told(self, told_id: UUID) -> Document:
        """Return one notification on one channel. Raises NotFound."""
        document = self._told.find_one({"_id": str(told_id)})
        if document is None:
            raise NotFound("notification", str(told_id))
        return _told_view(document)

    def queue_again(self, delivery_id: UUID, *, at: datetime) -> bool:
        """Queue an ended delivery again; return False if it has not ended."""
        ended = {"_id": str(delivery_id), "state": {"$nin": _OPEN}}
        anew: Document = {
            "state": State.QUEUED.value,
            "reason": None,
            "attempts": 0,
            "due_at": text(at),
            "ended_at": None,
        }
        anew["reached"] = []
        return bool(self._told.update_one(ended, {"$set": anew}).modified_count)

    # The user's feed.

    def feed(self, user_id: UUID, *, unread: bool, limit: int, after: int | None) -> Document:
        """Return a page of the user's notes without archived ones, newest first: {"items", "next"}."""
        shown: Document = {**feed_of(user_id), "archived_at": _NULL}
        if unread:
            shown["read_at"] = _NULL
        if after is not None:
            shown["position"] = {"$lt": after}
        notes = list(self._told.find(shown).sort("position", DESCENDING).limit(limit + 1))
        more = len(notes) > limit
        return {
            "items": [shown_note(note) for note in notes[:limit]],
            "next": notes[limit - 1]["position"] if more else None,
        }

    def unread(self, user_id: UUID) -> int:
        """Return the number of unread notes that are not archived."""
        return self._told.count_documents({**feed_of(user_id), "read_at": _NULL, "archived_at": _NULL})

    def read(self, user_id: UUID, note_id: UUID, *, at: datetime) -> Document:
        """Mark a note as read and return it; a note that is already read keeps its time. Raises NotFound."""
        self._told.update_one(
            {**feed_of(user_id), "_id": str(note_id), "read_at": _NULL},
            {"$set": {"seen_at": text(at), "read_at": text(at)}},
        )
        self._outdate(user_id)
        return self._note(user_id, note_id)

    def read_all(self, user_id: UUID, *, at: datetime) -> None:
        """Mark all notes of the user as read."""
        self._told.update_many(
            {**feed_of(user_id), "read_at": _NULL}, {"$set": {"seen_at": text(at), "read_at": text(at)}}
        )
        self._outdate(user_id)

    def archive(self, user_id: UUID, note_id: UUID, *, at: datetime) -> Document:
        """Archive a note and return it; a note that is already archived keeps its time. Raises NotFound."""
        self._told.update_one(
            {**feed_of(user_id), "_id": str(note_id), "archived_at": _NULL}, {"$set": {"archived_at": text(at)}}
        )
        self._outdate(user_id)
        return self._note(user_id, note_id)

    def _outdate(self, user_id: UUID) -> None:
        self._remember(notes_of(user_id), changed)

    def _note(self, user_id: UUID, note_id: UUID) -> Document:
        note = self._told.find_one({**feed_of(user_id), "_id": str(note_id)})
        if note is None:
            raise NotFound("notification", str(note_id))
        return shown_note(note)


def text(at: datetime) -> str:
    """Format a time for storage and responses: RFC 3339, UTC, always with microseconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _told_view(document: Document) -> Document:
    return {"id": document["_id"]} | {name: document.get(name, absent) for name, absent in _TOLD_FIELDS.items()}
