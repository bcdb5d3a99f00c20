"""Users: profiles, changes to be synchronised to Auth0, data exports and erasures."""

from .erasures import ErasedSub, Erasure
from .exports import Export
from .identity_changes import IdentityChange
from .user import Identity, User

__all__ = ["ErasedSub", "Erasure", "Export", "Identity", "IdentityChange", "User"]
