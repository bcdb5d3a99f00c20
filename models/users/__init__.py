"""Users: profiles, changes to be synchronised to Auth0, data exports and erasures, names on certificates."""

from .certificate_holders import CertificateHolder
from .erasures import ErasedSub, Erasure
from .exports import Export
from .identity_changes import IdentityChange
from .user import Identity, User, UserFilters

__all__ = ["CertificateHolder", "ErasedSub", "Erasure", "Export", "Identity", "IdentityChange", "User", "UserFilters"]
