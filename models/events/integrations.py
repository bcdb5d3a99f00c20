"""What the integrations service tells."""

from dataclasses import dataclass
from uuid import UUID

from .event import Event, Moment


@dataclass(frozen=True, kw_only=True)
class WebhookEndpointDisabled(Event, topic="integrations"):
    """An integrator's endpoint gets no webhooks any more: it has failed for too long, or answered 410 Gone."""

    endpoint_id: UUID
    reason: str  # failing or gone
    failing_since: Moment
    disabled_at: Moment
