"""The state of a user's account that every request with a permission depends on.

The users service decides it, stores it in ``users.users`` and puts it into the cache under ``identity_key(sub)``; the
gateway reads it from there and refuses what the account no longer allows.
"""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from .errors import AccountBlocked, TokenOutdated

# Stands for "no token yet": the identity provider has not confirmed the new roles, and may still issue the old ones.
NO_TOKEN_YET = 253_402_300_800  # the year 10000
_BLOCKED = "blocked"

ROLES = ("learner", "instructor", "admin")  # as Auth0 calls them; what they allow is said there


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """A user's id, and what a token of the user is still good for."""

    user_id: UUID
    tokens_valid_from: int = 0  # seconds since 1970; permissions of tokens issued before do not count
    blocked: bool = False

    def refuse_blocked(self) -> None:
        """Raises AccountBlocked."""
        if self.blocked:
            raise AccountBlocked

    def refuse_outdated(self, issued_at: float) -> None:
        """Refuse the permissions of a token issued at ``issued_at``. Raises TokenOutdated, AccountBlocked."""
        self.refuse_blocked()
        if issued_at < self.tokens_valid_from:
            raise TokenOutdated

    def encode(self) -> bytes:
        """Return the account as the cache stores it: ``<id>``, ``<id> <valid from>`` or ``<id> <valid from> blocked``.

        An own profile is read by a script of the cache that knows this form (models/cache.py).
        """
        parts = [str(self.user_id)]
        if self.tokens_valid_from or self.blocked:
            parts.append(str(self.tokens_valid_from))
        if self.blocked:
            parts.append(_BLOCKED)
        return " ".join(parts).encode()

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read what ``encode`` returned."""
        user_id, *rest = body.decode().split(" ")
        return cls(user_id=UUID(user_id), tokens_valid_from=int(rest[0]) if rest else 0, blocked=_BLOCKED in rest)
