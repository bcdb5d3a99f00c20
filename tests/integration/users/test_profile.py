from uuid import uuid4

import msgspec
import pytest
from sqlalchemy.orm import Session

from core.cache import profile_key
from models.errors import NotFound, PreconditionFailed, ProjectionNotReady
from tests.integration.users.factories import CachedEntries, creation_of, make_new_user, make_user, published_events
from workers.users.profiles import change_profile, initialize_profile, show_profile


def test_user_created_event_initializes_and_caches_profile(session: Session):
    user, cached = make_new_user(session), CachedEntries()
    initialize_profile(session, cached, event=creation_of(user, locale="ru", timezone="Europe/Moscow"))

    stored = cached[profile_key(user.id)]
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
            "bio": None,
            "roles": [],
            "created_at": user.created_at,
            "version": 2,
        }
    )
    assert published_events(session, user.id) == [("USER_CREATED", 1), ("USER_UPDATED", 2)]


def test_repeated_initialization_keeps_user_changes(session: Session):
    user = make_new_user(session)
    event = creation_of(user)
    initialize_profile(session, CachedEntries(), event=event)
    change_profile(session, CachedEntries(), user_id=user.id, expected_version=2, changes={"name": "Anna"})
    initialize_profile(session, CachedEntries(), event=event)

    assert user.name == "Anna"
    assert published_events(session, user.id) == [("USER_CREATED", 1), ("USER_UPDATED", 2), ("USER_UPDATED", 3)]


def test_token_claims_are_shown_before_profile_exists(session: Session):
    user = make_new_user(session)
    shown = show_profile(session, user_id=user.id, email="token@example.com", name="Token")

    assert (shown["email"], shown["name"], shown["version"]) == ("token@example.com", "Token", 1)


def test_token_claims_are_ignored_once_profile_exists(session: Session):
    user = make_user(session)
    shown = show_profile(session, user_id=user.id, email="token@example.com", name="Token")

    assert (shown["email"], shown["name"]) == ("ann@example.com", "Ann")


def test_change_is_cached_and_publishes_event(session: Session):
    user, cached = make_user(session), CachedEntries()
    changed = change_profile(
        session, cached, user_id=user.id, expected_version=2, changes={"locale": "ru", "avatar_url": None}
    )

    assert (changed["locale"], changed["name"], changed["version"]) == ("ru", "Ann", 3)
    assert cached[profile_key(user.id)].version == 3
    assert published_events(session, user.id)[-1] == ("USER_UPDATED", 3)


def test_change_without_effect_publishes_no_event(session: Session):
    user, cached = make_user(session), CachedEntries()
    unchanged = change_profile(session, cached, user_id=user.id, expected_version=2, changes={"name": "Ann"})

    assert unchanged["version"] == 2
    assert not cached
    assert len(published_events(session, user.id)) == 2


def test_change_with_stale_version_is_rejected(session: Session):
    user = make_user(session)
    change_profile(session, CachedEntries(), user_id=user.id, expected_version=2, changes={"name": "Anna"})

    with pytest.raises(PreconditionFailed, match="its version is 3"):
        change_profile(session, CachedEntries(), user_id=user.id, expected_version=2, changes={"name": "Annie"})


def test_uninitialized_profile_cannot_be_changed(session: Session):
    user = make_new_user(session)

    with pytest.raises(ProjectionNotReady):
        change_profile(session, CachedEntries(), user_id=user.id, expected_version=1, changes={"name": "Anna"})


def test_unknown_user_is_not_found(session: Session):
    with pytest.raises(NotFound):
        show_profile(session, user_id=uuid4(), email=None, name=None)
