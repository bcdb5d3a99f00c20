"""Webhooks of Auth0: event streams, and log streams, which contain fewer fields.

Both deliver at least once and in any order. Entries are compared by time: an entry older than the stored state is
ignored, and an erased account is recreated only if it was created at Auth0 after the erasure. An unreadable entry is
logged, counted and skipped; the other entries of the batch are applied.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from sqlalchemy.orm import Session

import settings
from core.bus.outbox import record
from core.cache import CachedView, identity_key, profile_key
from core.db import utc_now
from core.log import get_logger
from core.metrics import AUTH0_WEBHOOK_ENTRIES_SKIPPED
from core.text import is_line, line_or_none
from core.webhook_signatures import verify_auth0
from models.errors import WebhookMalformed
from models.events import Person
from models.users import ErasedSub, Identity, User
from workers import task
from workers.runtime.dependencies import CacheAfterCommit, EnqueueAfterCommit

from .erasures import start_erasure

log = get_logger(__name__)

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_SUB_MAX_LENGTH = 255

OWNER = "auth0"  # owner of erasures that Auth0 starts; no user can see them

# https://auth0.com/docs/customize/events/event-types
_KIND_BY_EVENT_TYPE: dict[str, Literal["updated", "deleted"]] = {
    "user.created": "updated",
    "user.updated": "updated",
    "user.deleted": "deleted",
}
# https://auth0.com/docs/deploy-monitor/logs/log-event-type-codes: signed up; address verified; deleted.
# Other log types contain too few fields.
_KIND_BY_LOG_TYPE: dict[str, Literal["updated", "deleted"]] = {
    "ss": "updated",
    "sv": "updated",
    "sdu": "deleted",
    "du": "deleted",
}


@dataclass(frozen=True, kw_only=True)
class AccountChange:
    """One update of one account by Auth0."""

    kind: Literal["updated", "deleted"]
    sub: str
    email: str | None
    name: str | None
    email_verified: bool | None = None  # None: not stated
    blocked: bool | None = None
    at: datetime
    created_at: datetime | None


@task
def receive_auth0_webhook(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    enqueue_after_commit: EnqueueAfterCommit,
    *,
    body: bytes,
    authorization: str,
) -> dict[str, Any]:
    """Apply the entries of an Auth0 webhook.

    Raises WebhookUnauthorized, and WebhookMalformed if no entry is readable.
    """
    verify_auth0(authorization, settings.AUTH0_WEBHOOK_TOKENS)
    # Sort by user, so that concurrent webhooks lock users in the same order and cannot deadlock.
    for change in sorted(_parse_changes(body), key=lambda each: (each.sub, each.at)):
        if change.kind == "deleted":
            _delete_account(session, cache_after_commit, enqueue_after_commit, change)
        else:
            _apply_identity(session, cache_after_commit, change)
    return {"received": True}


def _apply_identity(session: Session, cache_after_commit: CacheAfterCommit, change: AccountChange) -> None:
    erased_at = ErasedSub.find_erased_at(session, change.sub)
    if erased_at:
        if change.created_at is None or change.created_at <= erased_at:
            return  # it concerns the erased account
        ErasedSub.remove(session, change.sub)
    identity = Identity(
        email=change.email, name=change.name, email_verified=change.email_verified, blocked=change.blocked, at=change.at
    )
    if new_user := User.insert_once(session, change.sub, at=utc_now()):
        if erased_at:  # tokens of the erased account may still be valid
            new_user.accept_tokens_from(int(erased_at.timestamp()) + 1)
        new_user.identity_at, new_user.identity_name = change.at, change.name
        new_user.set_blocked(blocked=change.blocked, at=utc_now())
        person = Person(email=change.email, name=change.name, email_verified=change.email_verified is True)
        record(session, new_user, new_user.created_event(person))
        return
    user = User.get_by_sub_for_update(session, change.sub)
    if user is None or user.knows_newer_than(identity):
        return
    if user.set_blocked(blocked=change.blocked, at=utc_now()):
        log.info("account blocked" if change.blocked else "account unblocked", user_id=user.id)
        cache_after_commit(identity_key(user.sub), user.account_cache_entry())
    if event := user.apply_identity(identity, at=utc_now()):
        record(session, user, event)
        cache_after_commit(profile_key(user.id), CachedView.from_view(user.to_response()))


def _delete_account(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    enqueue_after_commit: EnqueueAfterCommit,
    change: AccountChange,
) -> None:
    user = User.get_by_sub_for_update(session, change.sub)
    if user is None:
        # The deletion arrived before the creation: store it, so that the late creation is ignored.
        ErasedSub.upsert(session, change.sub, at=change.at)
    elif not (user.identity_at and user.identity_at > change.at):
        start_erasure(session, cache_after_commit, enqueue_after_commit, user, owner=OWNER, in_auth0=False)


def _parse_changes(body: bytes) -> list[AccountChange]:
    """Return the updates of all readable entries. Raises WebhookMalformed if there are entries and none is readable."""
    entries, unreadable, found = _parse_entries(body), 0, []
    for entry in entries:
        try:
            change = (
                _parse_event(entry) if "specversion" in entry or "spec_version" in entry else _parse_log_entry(entry)
            )
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError, msgspec.ValidationError) as error:
            # Auth0 keeps retrying a rejected batch: one bad entry must not block the others.
            unreadable += 1
            AUTH0_WEBHOOK_ENTRIES_SKIPPED.inc()
            log.warning("Auth0 webhook entry skipped", reason=type(error).__name__, type=str(entry.get("type"))[:50])
            continue
        if change:
            found.append(change)
    if entries and unreadable == len(entries):
        raise WebhookMalformed("no entry can be parsed")
    return found


def _parse_entries(body: bytes) -> list[dict[str, Any]]:
    """Parse an object, an array of objects or one object per line, as configured in the stream."""
    try:
        text = body.decode()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise WebhookMalformed("it is not JSON") from error
    entries = parsed if isinstance(parsed, list) else [parsed]
    if not text.strip() or not all(isinstance(entry, dict) for entry in entries):
        raise WebhookMalformed("it contains no objects")
    return entries


def _parse_event(event: dict[str, Any]) -> AccountChange | None:
    kind = _KIND_BY_EVENT_TYPE.get(event["type"].removeprefix("com.auth0."))
    if kind is None:
        return None
    account = event["data"]["object"]
    changed_at = account.get("deleted_at") if kind == "deleted" else account.get("updated_at")
    return AccountChange(
        kind=kind,
        sub=_checked_sub(account["user_id"]),
        email=line_or_none(account.get("email")),
        name=line_or_none(account.get("name")),
        email_verified=_bool_or_none(account.get("email_verified")),
        blocked=_bool_or_none(account.get("blocked")),
        at=_parse_datetime(changed_at or event["time"]),
        created_at=_parse_datetime(account["created_at"]) if account.get("created_at") else None,
    )


def _parse_log_entry(entry: dict[str, Any]) -> AccountChange | None:
    line = entry.get("data", entry)
    kind = _KIND_BY_LOG_TYPE.get(line["type"])
    if kind is None or not line.get("user_id"):
        return None
    at, user_name = _parse_datetime(line["date"]), line_or_none(line.get("user_name"))
    is_address = "@" in (user_name or "")
    return AccountChange(
        kind=kind,
        sub=_checked_sub(line["user_id"]),
        email=user_name if is_address else None,
        name=None if is_address else user_name,
        email_verified=True if line["type"] == "sv" else None,
        at=at,
        created_at=at if line["type"] == "ss" else None,
    )


def _parse_datetime(text: str) -> datetime:
    moment = msgspec.convert(text, datetime)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("a time out of range")
    return moment


def _bool_or_none(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _checked_sub(text: str) -> str:
    if not (len(text) <= _SUB_MAX_LENGTH and is_line(text)):
        raise ValueError("a malformed user_id")
    return text
