"""Story 1: a first token becomes a profile, a welcome mail and a note in the feed."""

import pytest

from .shop import Shop, eventually

pytestmark = pytest.mark.flow


def test_a_first_token_is_served_at_once_and_becomes_a_profile(shop: Shop) -> None:
    learner = shop.learner()
    first = learner.get("/v1/me")
    assert first.status_code == 200
    assert first.json()["email"] == learner.person.email

    saved = learner.profile()

    assert (saved["id"], saved["email"]) == (first.json()["id"], learner.person.email)
    learner.awaits(["USER_CREATED"], mails=1)


def test_the_saved_profile_comes_from_the_cache_with_its_etag(shop: Shop) -> None:
    learner = shop.learner()
    learner.profile()
    first = learner.get("/v1/me")
    again = learner.get("/v1/me", If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("victims", [["worker-users"], ["worker-notifications"], ["bridge"], ["kafka"]], ids="+".join)
def test_a_kill_in_the_middle_of_a_registration_costs_nothing(shop: Shop, victims: list[str]) -> None:
    learner = shop.learner()
    assert eventually(lambda: learner.get("/v1/me").status_code == 200)
    shop.kill(*victims)
    learner.profile()
    learner.awaits(["USER_CREATED"], mails=1)
