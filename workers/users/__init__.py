"""Users service: identities, profiles, roles, Auth0 synchronisation, data exports and account erasures."""

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
    """Provide Auth0's management API. Do not call it in an open transaction."""
    yield _AUTH0
