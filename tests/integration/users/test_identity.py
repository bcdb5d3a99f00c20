from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.bus.outbox import OutboxEvent
from core.cache import identity_key
from core.db import session_factory
from models.users import User
from tests.integration.users.factories import CachedEntries, make_sub, published_events
from workers.users.profiles import get_or_create_user


def test_first_token_creates_user_and_publishes_event(session: Session):
    identity = get_or_create_user(session, CachedEntries(), sub="auth0|first", email="ann@example.com", name="Ann")

    event = session.scalars(select(OutboxEvent).where(OutboxEvent.aggregateid == str(identity["user_id"]))).one()
    assert (event.type, event.aggregate_version) == ("USER_CREATED", 1)
    assert event.payload["pii"] == {
        "email": "ann@example.com",
        "name": "Ann",
        "locale": "en",
        "timezone": "UTC",
        "email_verified": False,
    }


def test_known_sub_keeps_id_without_new_event(session: Session):
    sub = make_sub()
    first = get_or_create_user(session, CachedEntries(), sub=sub, email="ann@example.com", name="Ann")
    again = get_or_create_user(session, CachedEntries(), sub=sub, email="other@example.com", name="Other")

    assert again == first
    assert published_events(session, first["user_id"]) == [("USER_CREATED", 1)]


def test_identity_is_cached_in_gateway_format(session: Session):
    cached, sub = CachedEntries(), make_sub()
    identity = get_or_create_user(session, cached, sub=sub, email=None, name=None)

    assert cached[identity_key(sub)].body.decode() == str(identity["user_id"])


def test_profile_shows_roles_of_first_token(session: Session):
    identity = get_or_create_user(
        session, CachedEntries(), sub=make_sub(), email=None, name=None, roles=["instructor", "admin"]
    )

    assert session.get_one(User, identity["user_id"]).to_response()["roles"] == ["admin", "instructor"]


def test_concurrent_first_requests_create_one_user():
    sub, start = make_sub(), Barrier(12)

    def arrive(_: int) -> object:
        start.wait()
        with session_factory("users").begin() as session:
            return get_or_create_user(session, CachedEntries(), sub=sub, email="ann@example.com", name="Ann")["user_id"]

    with ThreadPoolExecutor(12) as pool:
        [user_id] = set(pool.map(arrive, range(12)))

    with session_factory("users").begin() as session:
        assert published_events(session, user_id) == [("USER_CREATED", 1)]
        session.delete(session.get_one(User, user_id))
        # The users of this test must not be published.
        session.delete(session.scalars(select(OutboxEvent).where(OutboxEvent.aggregateid == str(user_id))).one())
