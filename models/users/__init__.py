"""Users: the people that Auth0 vouches for, what Auth0 has still to be told of them, and their right to go."""

from .erasures import ErasedSub, Erasure
from .exports import Export
from .identity_changes import IdentityChange
from .user import Identity, ProfileChanges, User

__all__ = ["ErasedSub", "Erasure", "Export", "Identity", "IdentityChange", "ProfileChanges", "User"]
