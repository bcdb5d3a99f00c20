"""Users: who is who, their profiles and roles, what Auth0 tells of them, and their right to see all and to go."""

from collections.abc import Iterator

from workers._delivery import Delivery
from workers._metrics import watched
from workers.resources import resource

from . import directory, erasures, exports, facts, hooks, identity_changes, profiles
from .management import Auth0

__all__ = ["directory", "erasures", "exports", "facts", "hooks", "identity_changes", "profiles"]

_AUTH0 = watched("auth0", Auth0.configured())


@resource
def auth0(_delivery: Delivery) -> Iterator[Auth0]:
    """Auth0's management API. Call it with no transaction open."""
    yield _AUTH0
