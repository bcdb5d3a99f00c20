"""What every service tells for itself, of one person's data."""

from dataclasses import dataclass
from uuid import UUID

from .event import EVERY_SERVICE, Event, Moment


@dataclass(frozen=True, kw_only=True)
class KeptData:
    """What a service may not or need not erase."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class UserDataErased(Event, topic=EVERY_SERVICE):
    """A service has erased what it had of a person."""

    user_id: UUID
    service: str
    rows: int  # erased, or freed of the person
    kept: list[KeptData]
    erased_at: Moment

    @property
    def teller(self) -> str:
        return self.service


@dataclass(frozen=True, kw_only=True)
class UserDataExported(Event, topic=EVERY_SERVICE):
    """A service has laid out its part of an export. The part itself stays with the service."""

    user_id: UUID
    export_id: UUID
    service: str
    exported_at: Moment

    @property
    def teller(self) -> str:
        return self.service
