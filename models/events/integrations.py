"""Events published by the integrations service."""

from dataclasses import dataclass
from uuid import UUID

from core.events import AwareDatetime, Event


@dataclass(frozen=True, kw_only=True)
class WebhookEndpointDisabled(Event, topic="integrations"):
    """A webhook endpoint was disabled because its deliveries failed for too long, or because it answered 410 Gone."""

    endpoint_id: UUID
    reason: str  # failing or gone
    failing_since: AwareDatetime
    disabled_at: AwareDatetime
