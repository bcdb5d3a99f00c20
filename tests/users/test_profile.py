from uuid import uuid4

import msgspec
import pytest
from sqlalchemy.orm import Session

from models.cache import profile_key
from models.errors import NotFound, PreconditionFailed, ProjectionBehind
from tests.users.factories import Remembered, creation_of, make_user, reserve, told
from workers.users.profiles import change_profile, fill_profile, show_profile


def test_the_event_of_a_new_user_fills_the_profile_and_caches_what_me_answers(session: Session):
    user, remembered = reserve(session), Remembered()
    fill_profile(session, remembered, event=creation_of(user, locale="ru", timezone="Europe/Moscow"))

    stored = remembered[profile_key(user.id)]
    assert stored.version == 2
    assert msgspec.json.decode(stored.body) == msgspec.to_builtins(
        {
            "id": user.id,
            "email": "ann@example.com",
            "email_verified": True,
            "name": "Ann",
            "locale": "ru",
            "timezone": "Europe/Moscow",
            "avatar_url": None,
            "roles": [],
            "created_at": user.created_at,
            "version": 2,
        }
    )
    assert told(session, user.id) == [("USER_CREATED", 1), ("USER_UPDATED", 2)]


def test_a_profile_filled_twice_is_told_once_and_keeps_what_the_user_changed_meanwhile(session: Session):
    user = reserve(session)
    event = creation_of(user)
    fill_profile(session, Remembered(), event=event)
    change_profile(session, Remembered(), user_id=user.id, expected_version=2, changes={"name": "Anna"})
    fill_profile(session, Remembered(), event=event)

    assert user.name == "Anna"
    assert told(session, user.id) == [("USER_CREATED", 1), ("USER_UPDATED", 2), ("USER_UPDATED", 3)]


def test_before_the_profile_is_there_the_claims_of_the_token_are_shown(session: Session):
    user = reserve(session)
    shown = show_profile(session, user_id=user.id, email="token@example.com", name="Token")

    assert (shown["email"], shown["name"], shown["version"]) == ("token@example.com", "Token", 1)


def test_once_the_profile_is_there_the_claims_are_not_looked_at(session: Session):
    user = make_user(session)
    shown = show_profile(session, user_id=user.id, email="token@example.com", name="Token")

    assert (shown["email"], shown["name"]) == ("ann@example.com", "Ann")


def test_a_change_is_told_cached_and_counted(session: Session):
    user, remembered = make_user(session), Remembered()
    changed = change_profile(
        session, remembered, user_id=user.id, expected_version=2, changes={"locale": "ru", "avatar_url": None}
    )

    assert (changed["locale"], changed["name"], changed["version"]) == ("ru", "Ann", 3)
    assert remembered[profile_key(user.id)].version == 3
    assert told(session, user.id)[-1] == ("USER_UPDATED", 3)


def test_a_change_that_changes_nothing_is_not_told(session: Session):
    user, remembered = make_user(session), Remembered()
    unchanged = change_profile(session, remembered, user_id=user.id, expected_version=2, changes={"name": "Ann"})

    assert unchanged["version"] == 2
    assert not remembered
    assert len(told(session, user.id)) == 2


def test_a_change_of_a_version_that_is_gone_is_a_412(session: Session):
    user = make_user(session)
    change_profile(session, Remembered(), user_id=user.id, expected_version=2, changes={"name": "Anna"})

    with pytest.raises(PreconditionFailed, match="its version is 3"):
        change_profile(session, Remembered(), user_id=user.id, expected_version=2, changes={"name": "Annie"})


def test_a_profile_that_is_not_filled_yet_is_not_changed(session: Session):
    user = reserve(session)

    with pytest.raises(ProjectionBehind):
        change_profile(session, Remembered(), user_id=user.id, expected_version=1, changes={"name": "Anna"})


def test_a_user_that_nobody_reserved_is_a_404(session: Session):
    with pytest.raises(NotFound):
        show_profile(session, user_id=uuid4(), email=None, name=None)
