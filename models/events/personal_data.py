"""Events about a user's personal data, published by every service on its own topic."""

from dataclasses import dataclass
from uuid import UUID

from .event import EVERY_SERVICE, Event, Moment


@dataclass(frozen=True, kw_only=True)
class KeptData:
    """Data that a service retains: it must not, or need not, be erased."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class UserDataErased(Event, topic=EVERY_SERVICE):
    """A service has erased the personal data of a user."""

    user_id: UUID
    service: str
    rows: int  # rows that were deleted or anonymised
    kept: list[KeptData]
    erased_at: Moment

    @property
    def teller(self) -> str:
        return self.service


@dataclass(frozen=True, kw_only=True)
class UserDataExported(Event, topic=EVERY_SERVICE):
    """A service has its part of a data export ready. The part itself stays in the service."""

    user_id: UUID
    export_id: UUID
    service: str
    exported_at: Moment

    @property
    def teller(self) -> str:
        return self.service
