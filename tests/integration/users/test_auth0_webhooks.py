"""Auth0's webhooks: at least once, in any order, in every format that a stream can be configured for."""

import json
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

import settings
from core.bus.outbox import OutboxEvent
from core.metrics import AUTH0_WEBHOOK_ENTRIES_SKIPPED
from models.accounts import AccountState
from models.errors import AccountBlocked, AccountErased, WebhookMalformed, WebhookUnauthorized
from models.users import User
from tests.integration.users.factories import CachedEntries, creation_of, make_sub, make_user, published_events
from tests.support.dependencies import RecordedEnqueues
from workers.users.auth0_webhooks import receive_auth0_webhook
from workers.users.profiles import change_profile, get_or_create_user, initialize_profile

pytestmark = pytest.mark.usefixtures("auth0_sync_disabled")

STARTED_AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def at(minutes: int) -> str:
    return (STARTED_AT + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def event(kind: str, sub: str, minutes: int, **overrides: Any) -> dict[str, Any]:
    """Build an event as https://auth0.com/docs/customize/events/event-types describes it."""
    account = {
        "user_id": sub,
        "email": "ann@example.com",
        "name": "Ann",
        "created_at": at(0),
        "updated_at": at(minutes),
    }
    if kind == "deleted":
        account["deleted_at"] = at(minutes)
    return {
        "id": f"evt_{sub[-8:]}{minutes}",
        "source": "urn:auth0:coursebus:users",
        "specversion": "1.0",
        "type": f"user.{kind}",
        "time": at(minutes),
        "data": {"object": account | overrides},
        "a0tenant": "coursebus",
        "a0stream": "est_1",
    }


def log_line(code: str, sub: str, minutes: int) -> dict[str, Any]:
    data = {"date": at(minutes), "type": code, "user_id": sub, "user_name": "ann@example.com", "log_id": "900"}
    return {"log_id": "900", "data": data}


def receive(
    session: Session, *entries: dict[str, Any], token: str = f"Bearer {settings.AUTH0_WEBHOOK_TOKENS[0]}"
) -> None:
    body = json.dumps(entries[0] if len(entries) == 1 else entries).encode()
    receive_auth0_webhook(session, CachedEntries(), RecordedEnqueues(), body=body, authorization=token)


def user_of(session: Session, sub: str) -> User | None:
    session.flush()
    return session.scalars(select(User).where(User.sub == sub)).one_or_none()


def test_new_account_creates_user_and_publishes_event(session: Session):
    sub = make_sub()
    receive(session, event("created", sub, 0))

    user = user_of(session, sub)
    assert published_events(session, user.id) == [("USER_CREATED", 1)]
    initialize_profile(session, CachedEntries(), event=creation_of(user))
    assert (user.email, user.name) == ("ann@example.com", "Ann")


def test_redelivered_webhook_is_idempotent(session: Session):
    sub = make_sub()
    for _ in range(2):
        receive(session, event("created", sub, 0))
        receive(session, event("updated", sub, 5, email="new@example.com"))

    user = user_of(session, sub)
    assert user.email == "new@example.com"
    assert published_events(session, user.id) == [("USER_CREATED", 1), ("USER_UPDATED", 2)]


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_newest_identity_wins_in_any_order(session: Session, order: tuple[int, ...]):
    sub = make_sub()
    hooks = [
        event("created", sub, 0),
        event("updated", sub, 5, email="five@example.com"),
        event("updated", sub, 9, email="nine@example.com", name="Anna"),
    ]
    for number in order:
        receive(session, hooks[number])
    user = user_of(session, sub)
    payload = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.aggregateid == str(user.id))).first()
    initialize_profile(session, CachedEntries(), event=creation_of(user, **payload["pii"]))

    assert (user.email, user.name) == ("nine@example.com", "Anna")


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_deleted_account_stays_deleted_in_any_order(session: Session, order: tuple[int, ...]):
    sub = make_sub()
    hooks = [event("created", sub, 0), event("updated", sub, 5), event("deleted", sub, 9)]
    for number in order:
        receive(session, hooks[number])

    assert user_of(session, sub) is None


def test_recreated_account_becomes_new_user(session: Session):
    sub = make_sub()
    receive(session, event("created", sub, 0))
    first = user_of(session, sub).id
    receive(session, event("deleted", sub, 5))
    # The account was created after the erasure, so it is a new one.
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    receive(session, event("created", sub, 9, created_at=tomorrow, updated_at=tomorrow))

    assert user_of(session, sub).id != first


def test_erased_user_can_sign_in_after_auth0_recreates_account(session: Session):
    sub = make_sub()
    receive(session, event("created", sub, 0), event("deleted", sub, 5))
    with pytest.raises(AccountErased):
        get_or_create_user(session, CachedEntries(), sub=sub, email="ann@example.com", name="Ann")

    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    receive(session, event("created", sub, 9, created_at=tomorrow, updated_at=tomorrow))

    again = get_or_create_user(session, CachedEntries(), sub=sub, email="ann@example.com", name="Ann")
    assert again["user_id"] == user_of(session, sub).id


def test_user_chosen_name_stays_until_auth0_name_changes(session: Session):
    user = make_user(session)
    change_profile(session, CachedEntries(), user_id=user.id, expected_version=2, changes={"name": "Queen Ann"})
    receive(session, event("updated", user.sub, 5, email="new@example.com"))
    assert (user.email, user.name) == ("new@example.com", "Queen Ann")

    receive(session, event("updated", user.sub, 6, name="Ann Married"))
    assert user.name == "Ann Married"


def test_older_claims_do_not_overwrite_webhook_profile(session: Session):
    sub = make_sub()
    get_or_create_user(session, CachedEntries(), sub=sub, email="old@example.com", name="Ann")
    user = user_of(session, sub)
    receive(session, event("updated", sub, 5, email="new@example.com"))
    initialize_profile(session, CachedEntries(), event=creation_of(user, email="old@example.com"))

    assert user.email == "new@example.com"


def test_log_stream_creates_and_deletes_users(session: Session):
    sub, other = make_sub(), make_sub()
    receive(
        session, log_line("ss", sub, 0), log_line("ss", other, 0), log_line("s", other, 1), log_line("sdu", other, 2)
    )

    assert user_of(session, sub) is not None
    assert user_of(session, other) is None


def test_json_lines_body_is_accepted(session: Session):
    sub, other = make_sub(), make_sub()
    body = "\n".join(json.dumps(log_line("ss", each, 0)) for each in (sub, other)).encode()
    receive_auth0_webhook(
        session, CachedEntries(), RecordedEnqueues(), body=body, authorization=settings.AUTH0_WEBHOOK_TOKENS[0]
    )

    assert user_of(session, sub) is not None
    assert user_of(session, other) is not None


@pytest.mark.parametrize("name", ["علی\u200cرض\u0627", "山田\u3000太郎", "Jean\u00a0Dupont", "👩\u200d💻 Ann"])
def test_names_in_any_script_are_accepted(session: Session, name: str):
    user = make_user(session)

    receive(session, event("updated", user.sub, 5, name=name))

    assert user.name == name


@pytest.mark.parametrize("name", ["\u200b", "\u202e", "Ann\nBcc: x", "Ann\0", "\ud800", "", None, 7, ["x"]])
def test_invalid_name_is_ignored_and_email_is_applied(session: Session, name: Any):
    user = make_user(session)

    receive(session, event("updated", user.sub, 5, name=name, email="new@example.com"))

    assert (user.name, user.email) == ("Ann", "new@example.com")


def invalid_entry(**changed: Any) -> dict[str, Any]:
    account = {"user_id": changed.pop("user_id", "auth0|x")}
    return {"specversion": "1.0", "type": "user.updated", "time": at(1), "data": {"object": account}, **changed}


@pytest.mark.parametrize(
    "bad",
    [
        invalid_entry(user_id="\n"),
        invalid_entry(user_id="x" * 256),
        invalid_entry(time="9999-12-31T23:59:59-14:00"),
        invalid_entry(time="0001-01-01T00:00:00+14:00"),
        invalid_entry(type=7),
        {"data": None},
    ],
)
def test_invalid_entry_does_not_discard_batch(session: Session, bad: dict[str, Any]):
    skipped = AUTH0_WEBHOOK_ENTRIES_SKIPPED._value.get()  # noqa: SLF001 the library has no reader of one value
    first, deleted = make_user(session), make_user(session)

    receive(session, event("updated", first.sub, 5, email="new@example.com"), bad, event("deleted", deleted.sub, 6))

    assert first.email == "new@example.com"
    assert deleted.erased_at
    assert AUTH0_WEBHOOK_ENTRIES_SKIPPED._value.get() == skipped + 1  # noqa: SLF001 as above


def test_log_entry_email_is_not_used_as_name(session: Session):
    sub = make_sub()

    receive(session, log_line("ss", sub, 0))

    user = user_of(session, sub)
    payload = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.aggregateid == str(user.id))).one()
    assert (payload["pii"]["email"], payload["pii"]["name"]) == ("ann@example.com", None)


def test_email_verification_is_applied_and_reset_on_change(session: Session):
    user = make_user(session, email_verified=False)

    receive(session, event("updated", user.sub, 5, email_verified=True))
    assert user.email_verified
    receive(session, event("updated", user.sub, 6, email="new@example.com"))
    assert (user.email, user.email_verified) == ("new@example.com", False)
    receive(session, log_line("sv", user.sub, 7))
    assert (user.email, user.email_verified) == ("ann@example.com", True)


def test_user_created_event_has_email_verified(session: Session):
    subs = {verified: make_sub() for verified in (True, False)}

    for verified, sub in subs.items():
        receive(session, event("created", sub, 0, email_verified=verified))

    for verified, sub in subs.items():
        user = user_of(session, sub)
        payload = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.aggregateid == str(user.id))).one()
        assert payload["pii"]["email_verified"] is verified


def account(session: Session, sub: str) -> AccountState:
    identity = get_or_create_user(session, CachedEntries(), sub=sub, email=None, name=None)
    return AccountState.decode(identity["account"].encode())


def test_account_stays_blocked_until_auth0_unblocks_it(session: Session):
    user = make_user(session)
    before = user.account_cache_entry().version

    receive(session, event("updated", user.sub, 5, blocked=True))
    with pytest.raises(AccountBlocked):
        account(session, user.sub).require_not_blocked()
    assert user.account_cache_entry().version > before  # replaces the cached entry of the gateway

    receive(session, event("updated", user.sub, 4, blocked=False))  # older
    assert account(session, user.sub).blocked
    receive(session, event("updated", user.sub, 6))  # without the blocked state
    assert account(session, user.sub).blocked

    receive(session, event("updated", user.sub, 7, blocked=False))
    assert not account(session, user.sub).blocked


def test_account_created_blocked_is_blocked(session: Session):
    sub = make_sub()

    receive(session, event("created", sub, 0, blocked=True))

    assert account(session, sub).blocked


def test_accounts_with_same_email_stay_separate(session: Session):
    verified, unverified = make_sub(), make_sub()

    receive(session, event("created", verified, 0, email_verified=True))
    receive(session, event("created", unverified, 1, email_verified=False))
    ids = [user_of(session, sub).id for sub in (verified, unverified)]
    receive(session, event("deleted", unverified, 2))
    receive(session, event("updated", verified, 3, name="Anna"))

    assert ids[0] != ids[1]
    assert user_of(session, verified).id == ids[0]
    assert user_of(session, unverified) is None
    payloads = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.type == "USER_CREATED"))
    created = {payload["user_id"]: payload["pii"]["email_verified"] for payload in payloads}
    assert [created[str(each)] for each in ids] == [True, False]


def test_non_user_events_are_acknowledged(session: Session):
    receive(session, {"specversion": "1.0", "type": "organization.created", "time": at(0), "data": {"object": {}}})


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer wrong", "Basic YTpi", "bearer auth0-hook-local", "Bearer é"])
def test_webhook_without_token_is_rejected(session: Session, token: str):
    sub = make_sub()
    with pytest.raises(WebhookUnauthorized):
        receive(session, event("created", sub, 0), token=token)

    assert user_of(session, sub) is None


def test_webhook_is_rejected_when_no_token_is_configured(session: Session, monkeypatch):
    monkeypatch.setattr(settings, "AUTH0_WEBHOOK_TOKENS", ())
    with pytest.raises(WebhookUnauthorized):
        receive(session, event("created", make_sub(), 0), token="")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[1]",
        b'"text"',
        b"{",
        b'{"specversion": "1.0"}',
        b'{"specversion": "1.0", "type": 7}',
        b'{"specversion": "1.0", "type": "user.created", "time": "yesterday", "data": {"object": {"user_id": "x"}}}',
        b'{"specversion": "1.0", "type": "user.created", "time": "2026-05-01T12:00:00Z", "data": {"object": {}}}',
        b'{"specversion": "1.0", "type": "user.created", "time": "2026-05-01", "data": {"object": {"user_id": "\\n"}}}',
        b'{"specversion": "1.0", "type": "user.created", "time": "2026-05-01T12:00:00Z", "data": []}',
        b'{"specversion": "1.0", "type": "user.created", "time": "2026-05-01", "data": {"object": {"user_id": ["x"]}}}',
        b"[" * 100_000,
    ],
)
def test_malformed_body_is_rejected(session: Session, body: bytes):
    with pytest.raises(WebhookMalformed):
        receive_auth0_webhook(
            session, CachedEntries(), RecordedEnqueues(), body=body, authorization=settings.AUTH0_WEBHOOK_TOKENS[0]
        )
