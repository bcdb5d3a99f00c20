"""Account state, which the gateway checks on every request that needs a permission.

The users service stores it in ``users.users`` and caches it under ``identity_key(sub)``. The gateway reads the cache
and rejects outdated tokens and blocked accounts.
"""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from .errors import AccountBlocked, TokenOutdated

# No token is valid yet: the identity provider has not confirmed the new roles, and may still issue the old ones.
NO_TOKEN_YET = 253_402_300_800  # the year 10000
_BLOCKED = "blocked"

ROLES = ("learner", "instructor", "admin")  # as in Auth0, which maps them to permissions


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """A user's id, and which tokens of the user are still valid."""

    user_id: UUID
    tokens_valid_from: int = 0  # Unix time in seconds; tokens issued earlier carry no permissions
    blocked: bool = False

    def require_not_blocked(self) -> None:
        """Raise AccountBlocked if the account is blocked."""
        if self.blocked:
            raise AccountBlocked

    def require_current_token(self, issued_at: float) -> None:
        """Check that a token issued at ``issued_at`` is not outdated. Raises TokenOutdated, AccountBlocked."""
        self.require_not_blocked()
        if issued_at < self.tokens_valid_from:
            raise TokenOutdated

    def encode(self) -> bytes:
        """Return the cached form: ``<id>``, ``<id> <valid from>`` or ``<id> <valid from> blocked``.

        A Lua script in core/cache.py parses this form.
        """
        parts = [str(self.user_id)]
        if self.tokens_valid_from or self.blocked:
            parts.append(str(self.tokens_valid_from))
        if self.blocked:
            parts.append(_BLOCKED)
        return " ".join(parts).encode()

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Parse the result of ``encode``."""
        user_id, *rest = body.decode().split(" ")
        return cls(user_id=UUID(user_id), tokens_valid_from=int(rest[0]) if rest else 0, blocked=_BLOCKED in rest)
