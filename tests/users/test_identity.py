from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.base import sessions
from models.cache import identity_key
from models.outbox import OutboxEvent
from models.users import User
from tests.users.factories import Remembered, make_sub, told
from workers.users.profiles import identify


def test_a_first_token_becomes_a_user_and_is_told(session: Session):
    identity = identify(session, Remembered(), sub="auth0|first", email="ann@example.com", name="Ann")

    event = session.scalars(select(OutboxEvent).where(OutboxEvent.aggregateid == str(identity["user_id"]))).one()
    assert (event.type, event.aggregate_version) == ("USER_CREATED", 1)
    assert event.payload["pii"] == {
        "email": "ann@example.com",
        "name": "Ann",
        "locale": "en",
        "timezone": "UTC",
        "email_verified": False,
    }


def test_a_known_sub_keeps_its_id_and_is_not_told_again(session: Session):
    sub = make_sub()
    first = identify(session, Remembered(), sub=sub, email="ann@example.com", name="Ann")
    again = identify(session, Remembered(), sub=sub, email="other@example.com", name="Other")

    assert again == first
    assert told(session, first["user_id"]) == [("USER_CREATED", 1)]


def test_an_identity_is_remembered_as_the_gateway_reads_it(session: Session):
    remembered, sub = Remembered(), make_sub()
    identity = identify(session, remembered, sub=sub, email=None, name=None)

    assert remembered[identity_key(sub)].body.decode() == str(identity["user_id"])


def test_roles_of_the_first_token_are_shown_in_the_profile(session: Session):
    identity = identify(session, Remembered(), sub=make_sub(), email=None, name=None, roles=["instructor", "admin"])

    assert session.get_one(User, identity["user_id"]).view()["roles"] == ["admin", "instructor"]


def test_twelve_first_requests_at_once_become_one_user_told_once():
    sub, start = make_sub(), Barrier(12)

    def arrive(_: int) -> object:
        start.wait()
        with sessions("users").begin() as session:
            return identify(session, Remembered(), sub=sub, email="ann@example.com", name="Ann")["user_id"]

    with ThreadPoolExecutor(12) as pool:
        [user_id] = set(pool.map(arrive, range(12)))

    with sessions("users").begin() as session:
        assert told(session, user_id) == [("USER_CREATED", 1)]
        session.delete(session.get_one(User, user_id))
        # Nobody is to be told of the people of a test.
        session.delete(session.scalars(select(OutboxEvent).where(OutboxEvent.aggregateid == str(user_id))).one())
