"""What was told to whom, in MongoDB: one collection of feed notes and deliveries, a document a channel.

A document's ``_id`` follows from event, recipient and channel, so writing it twice writes it once. Ids and times are
stored as text, times of equal length, so that they compare as they sort: the embedded server matches no binary ids and
changes the type of a time that it updates. For the same reason null is asked for by ``$eq``.
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
    "ended_at": None,  # which a note of the feed has not
}
_OPEN = [State.QUEUED.value, State.HELD.value, State.SENDING.value]
_TAKEN = [State.SENT.value, State.DELIVERED.value, State.BOUNCED.value, State.COMPLAINED.value]
_NULL = {"$eq": None}

_indexed: set[str] = set()  # databases whose indexes this process has seen to


@resource
def history(delivery: _delivery.Delivery) -> Iterator["History"]:
    """What was told to whom. Raises Unavailable where MongoDB does not answer."""
    with mongo_or_unavailable() as database, RESOURCES["remember"](delivery) as remember:
        yield History(database, remember)


class History:
    """The notifications of all users. What changes a feed outdates what is stored of it for readers."""

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

    # Made by the handlers of events.

    def add_note(self, notice: Notice, words: Words, *, position: int) -> None:
        """Put a note into the user's feed, unread; the feed is ordered by ``position``."""
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
        """Queue a delivery, due at once; returns its id."""
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
        """Write down why something is not told by ``channel``."""
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
            "listed_as": new_id().hex,  # rises with time, and no two are alike
            **shown,
        }
        self._told.update_one({"_id": str(told_id)}, {"$setOnInsert": document}, upsert=True)
        return told_id

    # Of one person.

    def told_to(self, user_id: UUID) -> list[Document]:
        """All that was told to a user, the oldest first."""
        found = self._told.find({"user_id": str(user_id)}).sort("created_at", ASCENDING)
        return [{("id" if name == "_id" else name): value for name, value in each.items()} for each in found]

    def erase(self, user_id: UUID) -> int:
        """Forget all that was told to a user; returns how much that was."""
        return self._told.delete_many({"user_id": str(user_id)}).deleted_count

    # Sent by deliver_*.

    def due(self, *, before: datetime, limit: int) -> list[tuple[UUID, str]]:
        """Deliveries that somebody should have taken up by ``before``, the longest waiting first: (id, channel)."""
        waiting = {"state": {"$in": _OPEN}, "due_at": {"$lte": text(before)}}
        found = self._told.find(waiting, {"_id": 1, "channel": 1}).sort("due_at", ASCENDING).limit(limit)
        return [(UUID(document["_id"]), document["channel"]) for document in found]

    def claim(self, delivery_id: UUID, *, at: datetime, until: datetime) -> Delivery | None:
        """Take a delivery that is due; after ``until`` we pass for dead. None when it is not due, taken or ended."""
        claimed = self._told.find_one_and_update(
            {"_id": str(delivery_id), "state": {"$in": _OPEN}, "due_at": {"$lte": text(at)}},
            {"$set": {"state": State.SENDING.value, "due_at": text(until)}, "$inc": {"attempts": 1}},
            return_document=ReturnDocument.AFTER,
        )
        return msgspec.convert({**claimed, "id": claimed["_id"]}, Delivery, strict=False) if claimed else None

    def sent_since(self, delivery: Delivery, since: datetime) -> int:
        """Count the other deliveries to the same user, by the same channel and of the same category, sent since then.

        Those that are being sent count where they were made before: of two at once, one passes the limit.
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
        """Delete up to ``limit`` notes and ended deliveries made before then; return how many those were."""
        old = {"created_at": {"$lt": text(before)}, "state": {"$nin": _OPEN}}
        ids = [each["_id"] for each in self._told.find(old, {"_id": 1}).limit(limit)]
        return self._told.delete_many({"_id": {"$in": ids}}).deleted_count if ids else 0

    def reach(self, delivery: Delivery, devices: list[str]) -> None:
        """Write down which devices have a claimed delivery, so that another try leaves them in peace."""
        self._settle(delivery, {"reached": devices})

    def put_back(self, delivery: Delivery, outcome: Outcome, *, due_at: datetime) -> None:
        """Leave a claimed delivery for another try at ``due_at``."""
        self._settle(delivery, {"state": outcome.state.value, "reason": outcome.reason, "due_at": text(due_at)})

    def end(self, delivery: Delivery, outcome: Outcome, *, at: datetime) -> None:
        """Write down how a claimed delivery ended."""
        ended = {"state": outcome.state.value, "reason": outcome.reason, "due_at": None, "ended_at": text(at)}
        self._settle(delivery, ended)

    def report(self, delivery_id: UUID, outcome: Outcome, *, at: datetime) -> None:
        """Write down what became of a delivery that the provider took; good news do not cover bad ones."""
        before = [State.SENDING, State.SENT]
        if outcome.state is not State.DELIVERED:
            before += [State.DELIVERED, State.BOUNCED]
        reported = {"_id": str(delivery_id), "channel": EMAIL, "state": {"$in": [state.value for state in before]}}
        later = {"state": outcome.state.value, "reason": outcome.reason, "due_at": None, "ended_at": text(at)}
        self._told.update_one(reported, {"$set": later})

    def _settle(self, delivery: Delivery, outcome: Document) -> None:
        # Whoever took it up after us counted one attempt more, and has the last word.
        ours = {"_id": str(delivery.id), "state": State.SENDING.value, "attempts": delivery.attempts}
        self._told.update_one(ours, {"$set": outcome})

    # Looked at by those who answer for it.

    def list_told(self, filters: dict[str, str], *, limit: int, after: str | None) -> Document:
        """A page of what was told to anybody, newest first: {"items", "next"}."""
        asked: Document = {**filters, **({"listed_as": {"$lt": after}} if after else {})}
        found = list(self._told.find(asked).sort("listed_as", DESCENDING).limit(limit + 1))
        more = len(found) > limit
        return {
            "items": [_told_view(document) for document in found[:limit]],
            "next": found[limit - 1]["listed_as"] if more else None,
        }

    def told(self, told_id: UUID) -> Document:
        """One notification by one channel. Raises NotFound."""
        document = self._told.find_one({"_id": str(told_id)})
        if document is None:
            raise NotFound("notification", str(told_id))
        return _told_view(document)

    def queue_again(self, delivery_id: UUID, *, at: datetime) -> bool:
        """Open a delivery that has ended; False where it is open."""
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

    # Read by the user.

    def feed(self, user_id: UUID, *, unread: bool, limit: int, after: int | None) -> Document:
        """A page of the user's notes, newest first: {"items", "next"}; archived ones are left out."""
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
        """How many notes the user has not read."""
        return self._told.count_documents({**feed_of(user_id), "read_at": _NULL, "archived_at": _NULL})

    def read(self, user_id: UUID, note_id: UUID, *, at: datetime) -> Document:
        """Mark a note read; returns it. Read before, it keeps its time. Raises NotFound."""
        self._told.update_one(
            {**feed_of(user_id), "_id": str(note_id), "read_at": _NULL},
            {"$set": {"seen_at": text(at), "read_at": text(at)}},
        )
        self._outdate(user_id)
        return self._note(user_id, note_id)

    def read_all(self, user_id: UUID, *, at: datetime) -> None:
        """Mark all notes of the user read."""
        self._told.update_many(
            {**feed_of(user_id), "read_at": _NULL}, {"$set": {"seen_at": text(at), "read_at": text(at)}}
        )
        self._outdate(user_id)

    def archive(self, user_id: UUID, note_id: UUID, *, at: datetime) -> Document:
        """Take a note out of the feed; returns it. Archived before, it keeps its time. Raises NotFound."""
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
    """A time as it is stored and sent: RFC 3339, UTC, always with microseconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _told_view(document: Document) -> Document:
    return {"id": document["_id"]} | {name: document.get(name, absent) for name, absent in _TOLD_FIELDS.items()}
