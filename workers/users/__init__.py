"""Users service: identities, profiles, roles, Auth0 synchronisation, certificate names, exports and erasures."""

from collections.abc import Iterator

from workers.runtime.dependencies import dependency
from workers.runtime.execution import TaskExecution
from workers.runtime.metrics import instrumented

from . import (
    audit_log,
    auth0_sync,
    auth0_webhooks,
    certificates,
    database_metrics,
    directory,
    erasures,
    exports,
    profiles,
)
from .auth0_client import Auth0

__all__ = [
    "audit_log",
    "auth0_sync",
    "auth0_webhooks",
    "certificates",
    "database_metrics",
    "directory",
    "erasures",
    "exports",
    "profiles",
]

_AUTH0 = instrumented("auth0", Auth0.configured())


@dependency
def auth0(_execution: TaskExecution) -> Iterator[Auth0]:
    """Provide Auth0's management API. Do not call it in an open transaction."""
    yield _AUTH0
