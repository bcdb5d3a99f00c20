"""Notifications in MongoDB: one collection of in-app notifications and deliveries, one document per channel.

A document's ``_id`` is derived from event, recipient and channel, so that writes are idempotent. Ids are BSON binaries
of the subtype UUID, times BSON dates, which have milliseconds. A TTL index deletes documents at ``expires_at``; open
deliveries have none.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.database import Database
from pymongo.errors import BulkWriteError

import settings
from core.cache import CachedView, invalidation_marker, notifications_version_key
from core.db import new_id
from models.errors import NotFound
from models.notification_data import complete
from models.notification_inbox import inbox_filter, notification_response
from models.notification_preferences import ANNOUNCEMENTS, EMAIL, IN_APP

from .deliveries import Delivery, DeliveryOutcome, DeliveryState, Notification
from .mongodb import Document

_FIELDS = {
    **dict.fromkeys(("user_id", "event_id", "category", "channel", "state", "created_at", "data")),
    "reason": None,
    "attempts": 0,
    "due_at": None,
    "ended_at": None,  # absent in in-app notifications
}
_OPEN = [DeliveryState.QUEUED.value, DeliveryState.HELD.value, DeliveryState.SENDING.value]
_BY_URGENCY: tuple[Document, ...] = (
    {"mandatory": True},
    {"mandatory": False, "category": {"$ne": ANNOUNCEMENTS}},
    {"mandatory": False, "category": ANNOUNCEMENTS},
)
_ACCEPTED = [
    DeliveryState.SENT.value,
    DeliveryState.DELIVERED.value,
    DeliveryState.BOUNCED.value,
    DeliveryState.COMPLAINED.value,
]
_DUPLICATE_KEY = 11000  # the error code of MongoDB
_RETENTION = timedelta(days=settings.NOTIFICATIONS_RETENTION_DAYS)

_indexed: set[str] = set()  # databases in which this process has created the indexes

CacheAfterCommit = Callable[[str, Callable[[], CachedView]], None]


class NotificationStore:
    """The notifications of all users. Each change of a feed invalidates its cache entry after the commit."""

    def __init__(self, database: Database[Document], cache_after_commit: CacheAfterCommit) -> None:
        self._collection = database["notifications"]
        self._cache_after_commit = cache_after_commit
        if database.name not in _indexed:
            self._collection.create_index([("user_id", ASCENDING), ("channel", ASCENDING), ("position", DESCENDING)])
            self._collection.create_index([("state", ASCENDING), ("due_at", ASCENDING), ("sort_key", ASCENDING)])
            self._collection.create_index([("state", ASCENDING), ("sort_key", DESCENDING)])
            self._collection.create_index([("sort_key", DESCENDING)])
            self._collection.create_index("expires_at", expireAfterSeconds=0)
            _indexed.add(database.name)

    # Writes of the event handlers.

    def add(self, notifications: Iterable[tuple[Notification, Mapping[str, Document]]]) -> None:
        """Add one document for each channel of each notification, all in one command; those that exist stay as they
        are.

        The fields of a channel are those of ``unread_note``, ``queued_delivery`` or ``skipped_delivery``.
        """
        documents = [
            {
                "_id": notification.delivery_id(channel),
                "user_id": notification.user_id,
                "event_id": notification.event_id,
                "channel": channel,
                "category": notification.category,
                "data": notification.data,
                "created_at": notification.created_at,
                "sort_key": new_id(),  # unique and increasing with time
                **fields,
            }
            for notification, fields_by_channel in notifications
            for channel, fields in fields_by_channel.items()
        ]
        try:
            self._collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            if any(each["code"] != _DUPLICATE_KEY for each in error.details["writeErrors"]):
                raise
        for user_id in dict.fromkeys(each["user_id"] for each in documents if each["channel"] == IN_APP):
            self._invalidate_cache(user_id)

    # Export and erasure.

    def list_for_user(self, user_id: UUID) -> list[Document]:
        """Return all notifications of a user, oldest first."""
        found = self._collection.find({"user_id": user_id}).sort("sort_key", ASCENDING)
        return [{("id" if name == "_id" else name): value for name, value in each.items()} for each in found]

    def erase(self, user_id: UUID) -> int:
        """Delete all notifications of a user; return the number of deleted documents."""
        return self._collection.delete_many({"user_id": user_id}).deleted_count

    # Used by the deliver_* tasks and their jobs.

    def due(self, *, before: datetime, limit: int) -> list[tuple[UUID, str]]:
        """Return open deliveries that were due at or before ``before``: (id, channel).

        Mandatory ones first and announcements last, the longest overdue first among each.
        """
        due: list[tuple[UUID, str]] = []
        for kind in _BY_URGENCY:
            if len(due) < limit:
                waiting = {"state": {"$in": _OPEN}, "due_at": {"$lte": before}, **kind}
                found = self._collection.find(waiting, {"_id": 1, "channel": 1})
                found = found.sort([("due_at", ASCENDING), ("sort_key", ASCENDING)]).limit(limit - len(due))
                due += [(document["_id"], document["channel"]) for document in found]
        return due

    def claim(self, delivery_id: UUID, *, at: datetime, until: datetime) -> Delivery | None:
        """Claim a due delivery; return None if it is not due, claimed by another worker or ended.

        The claim expires at ``until``; another worker may then claim the delivery.
        """
        claimed = self._collection.find_one_and_update(
            {"_id": delivery_id, "state": {"$in": _OPEN}, "due_at": {"$lte": at}},
            {"$set": {"state": DeliveryState.SENDING.value, "due_at": until}, "$inc": {"attempts": 1}},
            return_document=ReturnDocument.AFTER,
        )
        return msgspec.convert({**claimed, "id": claimed["_id"]}, Delivery) if claimed else None

    def sent_since(self, delivery: Delivery, since: datetime) -> int:
        """Count other deliveries with the same user, channel and category that were sent since ``since``.

        Deliveries in progress count if they were created earlier. So of two concurrent ones only the first is counted
        by the other, and not both are refused at the limit.
        """
        like = {
            "user_id": delivery.user_id,
            "channel": delivery.channel,
            "category": delivery.category,
            "_id": {"$ne": delivery.id},
        }
        sent = {"state": {"$in": _ACCEPTED}, "ended_at": {"$gte": since}}
        in_flight = {"state": DeliveryState.SENDING.value, "sort_key": {"$lt": delivery.sort_key}}
        return self._collection.count_documents({**like, "$or": [sent, in_flight]})

    def mark_devices_reached(self, delivery: Delivery, devices: list[UUID]) -> None:
        """Store which devices have received a claimed delivery, so that a retry skips them."""
        self._update_claimed(delivery, {"reached": devices})

    def reschedule(self, delivery: Delivery, outcome: DeliveryOutcome, *, due_at: datetime) -> None:
        """Reschedule a claimed delivery for ``due_at``."""
        self._update_claimed(delivery, {"state": outcome.state.value, "reason": outcome.reason, "due_at": due_at})

    def finish(self, delivery: Delivery, outcome: DeliveryOutcome, *, at: datetime) -> None:
        """Store the final outcome of a claimed delivery."""
        ended = {
            "state": outcome.state.value,
            "reason": outcome.reason,
            "due_at": None,
            "ended_at": at,
            "expires_at": delivery.created_at + _RETENTION,
        }
        self._update_claimed(delivery, ended)

    def record_provider_report(self, delivery_id: UUID, outcome: DeliveryOutcome, *, at: datetime) -> None:
        """Store a report on an e-mail that the provider accepted. "delivered" never replaces a bounce."""
        before = [DeliveryState.SENDING, DeliveryState.SENT]
        if outcome.state is not DeliveryState.DELIVERED:
            before += [DeliveryState.DELIVERED, DeliveryState.BOUNCED]
        reported = {"_id": delivery_id, "channel": EMAIL, "state": {"$in": [state.value for state in before]}}
        later = {
            "state": outcome.state.value,
            "reason": outcome.reason,
            "due_at": None,
            "ended_at": at,
            "expires_at": at + _RETENTION,
        }
        self._collection.update_one(reported, {"$set": later})

    def _update_claimed(self, delivery: Delivery, outcome: Document) -> None:
        # If another worker has claimed the delivery since, ``attempts`` is higher and only that worker may write.
        ours = {"_id": delivery.id, "state": DeliveryState.SENDING.value, "attempts": delivery.attempts}
        self._collection.update_one(ours, {"$set": outcome})

    # Administration.

    def list_all(self, filters: dict[str, str], *, user_id: UUID | None, limit: int, after: UUID | None) -> Document:
        """Return a page of the notifications of all users, newest first: {"items", "next"}."""
        query: Document = {**filters}
        if user_id:
            query["user_id"] = user_id
        if after:
            query["sort_key"] = {"$lt": after}
        found = list(self._collection.find(query).sort("sort_key", DESCENDING).limit(limit + 1))
        more = len(found) > limit
        return {
            "items": [_to_response(document) for document in found[:limit]],
            "next": found[limit - 1]["sort_key"] if more else None,
        }

    def get(self, notification_id: UUID) -> Document:
        """Return one notification on one channel. Raises NotFound."""
        document = self._collection.find_one({"_id": notification_id})
        if document is None:
            raise NotFound("notification", str(notification_id))
        return _to_response(document)

    def requeue(self, delivery_id: UUID, *, at: datetime) -> bool:
        """Queue an ended delivery again; return False if it has not ended."""
        ended = {"_id": delivery_id, "state": {"$nin": _OPEN}}
        requeued: Document = {
            "state": DeliveryState.QUEUED.value,
            "reason": None,
            "attempts": 0,
            "due_at": at,
            "ended_at": None,
            "expires_at": None,
            "reached": [],
        }
        return bool(self._collection.update_one(ended, {"$set": requeued}).modified_count)

    # The user's feed.

    def list_inbox(self, user_id: UUID, *, unread: bool, limit: int, after: int | None) -> Document:
        """Return a page of the user's notes without archived ones, newest first: {"items", "next"}."""
        shown: Document = {**inbox_filter(user_id), "archived_at": None}
        if unread:
            shown["read_at"] = None
        if after is not None:
            shown["position"] = {"$lt": after}
        notes = list(self._collection.find(shown).sort("position", DESCENDING).limit(limit + 1))
        more = len(notes) > limit
        return {
            "items": [notification_response(note) for note in notes[:limit]],
            "next": notes[limit - 1]["position"] if more else None,
        }

    def count_unread(self, user_id: UUID) -> int:
        """Return the number of unread notes that are not archived."""
        return self._collection.count_documents({**inbox_filter(user_id), "read_at": None, "archived_at": None})

    def mark_read(self, user_id: UUID, notification_id: UUID, *, at: datetime) -> Document:
        """Mark a note as read and return it; a note that is already read keeps its time. Raises NotFound."""
        self._collection.update_one(
            {**inbox_filter(user_id), "_id": notification_id, "read_at": None},
            {"$set": {"seen_at": at, "read_at": at}},
        )
        self._invalidate_cache(user_id)
        return self._get_in_app(user_id, notification_id)

    def mark_all_read(self, user_id: UUID, *, at: datetime) -> None:
        """Mark all notes of the user as read."""
        self._collection.update_many(
            {**inbox_filter(user_id), "read_at": None},
            {"$set": {"seen_at": at, "read_at": at}},
        )
        self._invalidate_cache(user_id)

    def archive(self, user_id: UUID, notification_id: UUID, *, at: datetime) -> Document:
        """Archive a note and return it; a note that is already archived keeps its time. Raises NotFound."""
        self._collection.update_one(
            {**inbox_filter(user_id), "_id": notification_id, "archived_at": None},
            {"$set": {"archived_at": at}},
        )
        self._invalidate_cache(user_id)
        return self._get_in_app(user_id, notification_id)

    def _invalidate_cache(self, user_id: UUID) -> None:
        self._cache_after_commit(notifications_version_key(user_id), invalidation_marker)

    def _get_in_app(self, user_id: UUID, notification_id: UUID) -> Document:
        note = self._collection.find_one({**inbox_filter(user_id), "_id": notification_id})
        if note is None:
            raise NotFound("notification", str(notification_id))
        return notification_response(note)


def unread_note(notification: Notification, *, title: str, body: str, position: int) -> Document:
    """Return the fields of an unread note in the user's inbox, which is ordered by ``position``."""
    return {
        "state": DeliveryState.DELIVERED.value,
        "position": position,
        "title": title,
        "body": body,
        "seen_at": None,
        "read_at": None,
        "archived_at": None,
        "expires_at": notification.created_at + _RETENTION,
    }


def queued_delivery(notification: Notification) -> Document:
    """Return the fields of a delivery that is due immediately."""
    return {
        "template": notification.template,
        "mandatory": notification.mandatory,
        "state": DeliveryState.QUEUED.value,
        "reason": None,
        "attempts": 0,
        "due_at": notification.created_at,
        "ended_at": None,
        "cause": notification.cause,
    }


def skipped_delivery(notification: Notification, reason: str) -> Document:
    """Return the fields that record why a notification is not sent by a channel."""
    return {
        "state": DeliveryState.SKIPPED.value,
        "reason": reason,
        "ended_at": notification.created_at,
        "expires_at": notification.created_at + _RETENTION,
    }


def _to_response(document: Document) -> Document:
    shown = {"id": document["_id"]} | {name: document.get(name, absent) for name, absent in _FIELDS.items()}
    return shown | {"data": complete(document["data"])}
