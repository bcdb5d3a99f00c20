"""Auth0's hooks: at least once, in any order, in every form that a stream can be set to."""

import json
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

import settings
from models.accounts import AccountState
from models.errors import AccountBlocked, AccountErased, HookRefused, HookUnreadable
from models.metrics import HOOK_ENTRIES_SKIPPED
from models.outbox import OutboxEvent
from models.users import User
from tests.notifications.conftest import Pokes
from tests.users.factories import Remembered, creation_of, make_sub, make_user, told
from workers.users.hooks import receive_auth0_hook
from workers.users.profiles import change_profile, fill_profile, identify

pytestmark = pytest.mark.usefixtures("quiet_auth0")

BEGAN = datetime(2026, 5, 1, 12, tzinfo=UTC)


def at(minutes: int) -> str:
    return (BEGAN + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def event(kind: str, sub: str, minutes: int, **said: Any) -> dict[str, Any]:
    """An event as https://auth0.com/docs/customize/events/event-types has it."""
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
        "data": {"object": account | said},
        "a0tenant": "coursebus",
        "a0stream": "est_1",
    }


def log_line(code: str, sub: str, minutes: int) -> dict[str, Any]:
    data = {"date": at(minutes), "type": code, "user_id": sub, "user_name": "ann@example.com", "log_id": "900"}
    return {"log_id": "900", "data": data}


def hear(session: Session, *entries: dict[str, Any], token: str = f"Bearer {settings.AUTH0_WEBHOOK_TOKENS[0]}") -> None:
    body = json.dumps(entries[0] if len(entries) == 1 else entries).encode()
    receive_auth0_hook(session, Remembered(), Pokes(), body=body, authorization=token)


def user_of(session: Session, sub: str) -> User | None:
    session.flush()
    return session.scalars(select(User).where(User.sub == sub)).one_or_none()


def test_an_account_never_seen_before_becomes_a_user_and_is_told(session: Session):
    sub = make_sub()
    hear(session, event("created", sub, 0))

    user = user_of(session, sub)
    assert told(session, user.id) == [("USER_CREATED", 1)]
    fill_profile(session, Remembered(), event=creation_of(user))
    assert (user.email, user.name) == ("ann@example.com", "Ann")


def test_a_hook_delivered_twice_is_done_once(session: Session):
    sub = make_sub()
    for _ in range(2):
        hear(session, event("created", sub, 0))
        hear(session, event("updated", sub, 5, email="new@example.com"))

    user = user_of(session, sub)
    assert user.email == "new@example.com"
    assert told(session, user.id) == [("USER_CREATED", 1), ("USER_UPDATED", 2)]


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_whatever_their_order_the_newest_word_stays(session: Session, order: tuple[int, ...]):
    sub = make_sub()
    hooks = [
        event("created", sub, 0),
        event("updated", sub, 5, email="five@example.com"),
        event("updated", sub, 9, email="nine@example.com", name="Anna"),
    ]
    for number in order:
        hear(session, hooks[number])
    user = user_of(session, sub)
    payload = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.aggregateid == str(user.id))).first()
    fill_profile(session, Remembered(), event=creation_of(user, **payload["pii"]))

    assert (user.email, user.name) == ("nine@example.com", "Anna")


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_whatever_their_order_a_deleted_account_stays_deleted(session: Session, order: tuple[int, ...]):
    sub = make_sub()
    hooks = [event("created", sub, 0), event("updated", sub, 5), event("deleted", sub, 9)]
    for number in order:
        hear(session, hooks[number])

    assert user_of(session, sub) is None


def test_an_account_made_anew_after_the_end_of_the_old_one_is_a_new_user(session: Session):
    sub = make_sub()
    hear(session, event("created", sub, 0))
    first = user_of(session, sub).id
    hear(session, event("deleted", sub, 5))
    # What was erased now is older than an account of tomorrow.
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    hear(session, event("created", sub, 9, created_at=tomorrow, updated_at=tomorrow))

    assert user_of(session, sub).id != first


def test_erased_person_who_signs_up_again_is_let_in_once_auth0_says_so(session: Session):
    sub = make_sub()
    hear(session, event("created", sub, 0), event("deleted", sub, 5))
    with pytest.raises(AccountErased):
        identify(session, Remembered(), sub=sub, email="ann@example.com", name="Ann")

    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    hear(session, event("created", sub, 9, created_at=tomorrow, updated_at=tomorrow))

    again = identify(session, Remembered(), sub=sub, email="ann@example.com", name="Ann")
    assert again["user_id"] == user_of(session, sub).id


def test_a_name_that_the_user_chose_stays_until_auth0_tells_another_one(session: Session):
    user = make_user(session)
    change_profile(session, Remembered(), user_id=user.id, expected_version=2, changes={"name": "Queen Ann"})
    hear(session, event("updated", user.sub, 5, email="new@example.com"))
    assert (user.email, user.name) == ("new@example.com", "Queen Ann")

    hear(session, event("updated", user.sub, 6, name="Ann Married"))
    assert user.name == "Ann Married"


def test_a_profile_that_a_hook_has_filled_is_not_filled_again_with_older_claims(session: Session):
    sub = make_sub()
    identify(session, Remembered(), sub=sub, email="old@example.com", name="Ann")
    user = user_of(session, sub)
    hear(session, event("updated", sub, 5, email="new@example.com"))
    fill_profile(session, Remembered(), event=creation_of(user, email="old@example.com"))

    assert user.email == "new@example.com"


def test_log_streams_tell_of_beginnings_and_ends(session: Session):
    sub, other = make_sub(), make_sub()
    hear(session, log_line("ss", sub, 0), log_line("ss", other, 0), log_line("s", other, 1), log_line("sdu", other, 2))

    assert user_of(session, sub) is not None
    assert user_of(session, other) is None


def test_a_body_of_an_object_a_line_is_read(session: Session):
    sub, other = make_sub(), make_sub()
    body = "\n".join(json.dumps(log_line("ss", each, 0)) for each in (sub, other)).encode()
    receive_auth0_hook(session, Remembered(), Pokes(), body=body, authorization=settings.AUTH0_WEBHOOK_TOKENS[0])

    assert user_of(session, sub) is not None
    assert user_of(session, other) is not None


@pytest.mark.parametrize("name", ["علی\u200cرض\u0627", "山田\u3000太郎", "Jean\u00a0Dupont", "👩\u200d💻 Ann"])
def test_names_of_every_script_are_taken_over(session: Session, name: str):
    user = make_user(session)

    hear(session, event("updated", user.sub, 5, name=name))

    assert user.name == name


@pytest.mark.parametrize("name", ["\u200b", "\u202e", "Ann\nBcc: x", "Ann\0", "\ud800", "", None, 7, ["x"]])
def test_bad_name_is_ignored_and_the_address_is_taken_over(session: Session, name: Any):
    user = make_user(session)

    hear(session, event("updated", user.sub, 5, name=name, email="new@example.com"))

    assert (user.name, user.email) == ("Ann", "new@example.com")


def unreadable(**changed: Any) -> dict[str, Any]:
    account = {"user_id": changed.pop("user_id", "auth0|x")}
    return {"specversion": "1.0", "type": "user.updated", "time": at(1), "data": {"object": account}, **changed}


@pytest.mark.parametrize(
    "bad",
    [
        unreadable(user_id="\n"),
        unreadable(user_id="x" * 256),
        unreadable(time="9999-12-31T23:59:59-14:00"),
        unreadable(time="0001-01-01T00:00:00+14:00"),
        unreadable(type=7),
        {"data": None},
    ],
)
def test_bad_entry_does_not_lose_its_batch(session: Session, bad: dict[str, Any]):
    skipped = HOOK_ENTRIES_SKIPPED._value.get()  # noqa: SLF001 the library has no reader of one value
    first, gone = make_user(session), make_user(session)

    hear(session, event("updated", first.sub, 5, email="new@example.com"), bad, event("deleted", gone.sub, 6))

    assert first.email == "new@example.com"
    assert gone.erased_at
    assert HOOK_ENTRIES_SKIPPED._value.get() == skipped + 1  # noqa: SLF001 as above


def test_address_in_a_log_line_is_not_taken_for_a_name(session: Session):
    sub = make_sub()

    hear(session, log_line("ss", sub, 0))

    user = user_of(session, sub)
    payload = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.aggregateid == str(user.id))).one()
    assert (payload["pii"]["email"], payload["pii"]["name"]) == ("ann@example.com", None)


def test_verification_is_followed_and_another_address_is_unverified(session: Session):
    user = make_user(session, email_verified=False)

    hear(session, event("updated", user.sub, 5, email_verified=True))
    assert user.email_verified
    hear(session, event("updated", user.sub, 6, email="new@example.com"))
    assert (user.email, user.email_verified) == ("new@example.com", False)
    hear(session, log_line("sv", user.sub, 7))
    assert (user.email, user.email_verified) == ("ann@example.com", True)


def test_new_account_tells_whether_its_address_is_verified(session: Session):
    subs = {verified: make_sub() for verified in (True, False)}

    for verified, sub in subs.items():
        hear(session, event("created", sub, 0, email_verified=verified))

    for verified, sub in subs.items():
        user = user_of(session, sub)
        payload = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.aggregateid == str(user.id))).one()
        assert payload["pii"]["email_verified"] is verified


def account(session: Session, sub: str) -> AccountState:
    said = identify(session, Remembered(), sub=sub, email=None, name=None)
    return AccountState.decode(said["account"].encode())


def test_blocked_account_is_blocked_until_auth0_unblocks_it(session: Session):
    user = make_user(session)
    before = user.stored_account().version

    hear(session, event("updated", user.sub, 5, blocked=True))
    with pytest.raises(AccountBlocked):
        account(session, user.sub).refuse_blocked()
    assert user.stored_account().version > before  # replaces what the gateway has cached

    hear(session, event("updated", user.sub, 4, blocked=False))  # older
    assert account(session, user.sub).blocked
    hear(session, event("updated", user.sub, 6))  # says nothing of it
    assert account(session, user.sub).blocked

    hear(session, event("updated", user.sub, 7, blocked=False))
    assert not account(session, user.sub).blocked


def test_account_that_was_created_blocked_is_blocked(session: Session):
    sub = make_sub()

    hear(session, event("created", sub, 0, blocked=True))

    assert account(session, sub).blocked


def test_two_accounts_with_one_address_stay_two_and_one_is_verified(session: Session):
    first, second = make_user(session, email_verified=True), make_user(session, email_verified=False)

    assert first.id != second.id
    assert [(user.email, user.email_verified) for user in (first, second)] == [
        ("ann@example.com", True),
        ("ann@example.com", False),
    ]


def test_events_that_are_not_about_users_are_thanked_for(session: Session):
    hear(session, {"specversion": "1.0", "type": "organization.created", "time": at(0), "data": {"object": {}}})


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer wrong", "Basic YTpi", "bearer auth0-hook-local", "Bearer é"])
def test_a_stranger_is_not_heard(session: Session, token: str):
    sub = make_sub()
    with pytest.raises(HookRefused):
        hear(session, event("created", sub, 0), token=token)

    assert user_of(session, sub) is None


def test_without_a_token_agreed_upon_nobody_is_heard(session: Session, monkeypatch):
    monkeypatch.setattr(settings, "AUTH0_WEBHOOK_TOKENS", ())
    with pytest.raises(HookRefused):
        hear(session, event("created", make_sub(), 0), token="")


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
def test_a_body_that_makes_no_sense_is_refused(session: Session, body: bytes):
    with pytest.raises(HookUnreadable):
        receive_auth0_hook(session, Remembered(), Pokes(), body=body, authorization=settings.AUTH0_WEBHOOK_TOKENS[0])
