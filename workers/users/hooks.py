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
from models.base import now
from models.cache import Stored, identity_key, profile_key
from models.errors import HookUnreadable
from models.events import Person
from models.log import get_logger
from models.metrics import HOOK_ENTRIES_SKIPPED
from models.outbox import record
from models.text import is_line, line_or_none
from models.users import ErasedSub, Identity, User
from models.webhooks import verify_auth0
from workers import task
from workers.resources import Poke, Remember

from .erasures import begin

log = get_logger(__name__)

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_SUB_MAX_LENGTH = 255

OWNER = "auth0"  # owner of erasures that Auth0 starts; no user can see them

# https://auth0.com/docs/customize/events/event-types
_OF_EVENTS: dict[str, Literal["told", "deleted"]] = {
    "user.created": "told",
    "user.updated": "told",
    "user.deleted": "deleted",
}
# https://auth0.com/docs/deploy-monitor/logs/log-event-type-codes: signed up; address verified; deleted.
# Other log types contain too few fields.
_OF_LOGS: dict[str, Literal["told", "deleted"]] = {"ss": "told", "sv": "told", "sdu": "deleted", "du": "deleted"}


@dataclass(frozen=True, kw_only=True)
class News:
    """One update of one account by Auth0."""

    kind: Literal["told", "deleted"]
    sub: str
    email: str | None
    name: str | None
    email_verified: bool | None = None  # None: not stated
    blocked: bool | None = None
    at: datetime
    created_at: datetime | None


@task
def receive_auth0_hook(
    session: Session, remember: Remember, poke: Poke, *, body: bytes, authorization: str
) -> dict[str, Any]:
    """Apply the entries of an Auth0 webhook. Raises HookRefused, and HookUnreadable if no entry is readable."""
    verify_auth0(authorization, settings.AUTH0_WEBHOOK_TOKENS)
    # Sort by user, so that concurrent webhooks lock users in the same order and cannot deadlock.
    for news in sorted(_read(body), key=lambda each: (each.sub, each.at)):
        if news.kind == "deleted":
            _let_go(session, remember, poke, news)
        else:
            _follow(session, remember, news)
    return {"received": True}


def _follow(session: Session, remember: Remember, news: News) -> None:
    erased_at = ErasedSub.erased_at_of(session, news.sub)
    if erased_at:
        if news.created_at is None or news.created_at <= erased_at:
            return  # it concerns the erased account
        ErasedSub.lift(session, news.sub)
    identity = Identity(
        email=news.email, name=news.name, email_verified=news.email_verified, blocked=news.blocked, at=news.at
    )
    if made := User.reserve(session, news.sub, at=now()):
        if erased_at:  # tokens of the erased account may still be valid
            made.accept_tokens_from(int(erased_at.timestamp()) + 1)
        made.identity_at, made.identity_name = news.at, news.name
        made.block(blocked=news.blocked, at=now())
        person = Person(email=news.email, name=news.name, email_verified=news.email_verified is True)
        record(session, made, made.created(person))
        return
    user = User.named(session, news.sub)
    if user is None or user.knows_newer_than(identity):
        return
    if user.block(blocked=news.blocked, at=now()):
        log.info("account blocked" if news.blocked else "account unblocked", user_id=user.id)
        remember(identity_key(user.sub), user.stored_account())
    if told := user.follow(identity, at=now()):
        record(session, user, told)
        remember(profile_key(user.id), Stored.of(user.view()))


def _let_go(session: Session, remember: Remember, poke: Poke, news: News) -> None:
    user = User.named(session, news.sub)
    if user is None:
        # The deletion arrived before the creation: store it, so that the late creation is ignored.
        ErasedSub.keep(session, news.sub, at=news.at)
    elif not (user.identity_at and user.identity_at > news.at):
        begin(session, remember, poke, user, owner=OWNER, in_auth0=False)


def _read(body: bytes) -> list[News]:
    """Return the updates of all readable entries. Raises HookUnreadable if there are entries and none is readable."""
    entries, faults, found = _entries(body), 0, []
    for entry in entries:
        try:
            news = _of_event(entry) if "specversion" in entry or "spec_version" in entry else _of_log(entry)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError, msgspec.ValidationError) as error:
            # Auth0 keeps retrying a rejected batch: one bad entry must not block the others.
            faults += 1
            HOOK_ENTRIES_SKIPPED.inc()
            log.warning("entry of an Auth0 hook skipped", reason=type(error).__name__, type=str(entry.get("type"))[:50])
            continue
        if news:
            found.append(news)
    if entries and faults == len(entries):
        raise HookUnreadable("no entry is readable")
    return found


def _entries(body: bytes) -> list[dict[str, Any]]:
    """Parse an object, an array of objects or one object per line, as configured in the stream."""
    try:
        text = body.decode()
        try:
            told = json.loads(text)
        except ValueError:
            told = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise HookUnreadable("it is no JSON") from error
    entries = told if isinstance(told, list) else [told]
    if not text.strip() or not all(isinstance(entry, dict) for entry in entries):
        raise HookUnreadable("it holds no objects")
    return entries


def _of_event(event: dict[str, Any]) -> News | None:
    kind = _OF_EVENTS.get(event["type"].removeprefix("com.auth0."))
    if kind is None:
        return None
    account = event["data"]["object"]
    said_at = account.get("deleted_at") if kind == "deleted" else account.get("updated_at")
    return News(
        kind=kind,
        sub=_sub(account["user_id"]),
        email=line_or_none(account.get("email")),
        name=line_or_none(account.get("name")),
        email_verified=_flag(account.get("email_verified")),
        blocked=_flag(account.get("blocked")),
        at=_moment(said_at or event["time"]),
        created_at=_moment(account["created_at"]) if account.get("created_at") else None,
    )


def _of_log(entry: dict[str, Any]) -> News | None:
    line = entry.get("data", entry)
    kind = _OF_LOGS.get(line["type"])
    if kind is None or not line.get("user_id"):
        return None
    at, user_name = _moment(line["date"]), line_or_none(line.get("user_name"))
    is_address = "@" in (user_name or "")
    return News(
        kind=kind,
        sub=_sub(line["user_id"]),
        email=user_name if is_address else None,
        name=None if is_address else user_name,
        email_verified=True if line["type"] == "sv" else None,
        at=at,
        created_at=at if line["type"] == "ss" else None,
    )


def _moment(text: str) -> datetime:
    moment = msgspec.convert(text, datetime)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("a time out of range")
    return moment


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _sub(text: str) -> str:
    if not (len(text) <= _SUB_MAX_LENGTH and is_line(text)):
        raise ValueError("a malformed user_id")
    return text
