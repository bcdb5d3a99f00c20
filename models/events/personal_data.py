"""Events about a user's personal data, published by every service on its own topic."""

from dataclasses import dataclass
from uuid import UUID

from core.events import SHARED_TOPIC, AwareDatetime, Event


@dataclass(frozen=True, kw_only=True)
class RetainedData:
    """Data that a service retains: it must not, or need not, be erased."""

    description: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class UserDataErased(Event, topic=SHARED_TOPIC):
    """A service has erased the personal data of a user."""

    user_id: UUID
    service: str
    rows: int  # rows that were deleted or anonymised
    retained: list[RetainedData]
    erased_at: AwareDatetime

    @property
    def producer(self) -> str:
        return self.service


@dataclass(frozen=True, kw_only=True)
class UserDataExported(Event, topic=SHARED_TOPIC):
    """A service has its part of a data export ready. The part itself stays in the service."""

    user_id: UUID
    export_id: UUID
    service: str
    exported_at: AwareDatetime

    @property
    def producer(self) -> str:
        return self.service
