"""What everyone sees of an instructor."""

from uuid import uuid4

import pytest

from models.errors import NotFound
from models.users import User


@pytest.mark.parametrize(("name", "shown"), [("Eve Editor", "Eve Editor"), ("eve@example.com", None), (None, None)])
def test_address_in_place_of_a_name_is_not_published(name, shown):
    user = User(id=uuid4(), name=name, roles=["instructor"], avatar_url=None, bio=None)

    assert user.to_instructor_response()["name"] == shown


def test_learner_has_no_public_profile():
    with pytest.raises(NotFound):
        User(id=uuid4(), name="Ann", roles=["learner"]).to_instructor_response()
