"""Commands of the integrations service."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from core.commands import Command


class ListDeliveries(Command, service="integrations"):
    """Return a page of an endpoint's deliveries, newest first."""

    endpoint_id: UUID
    status: str | None
    limit: int
    after: UUID | None


class ReplayDelivery(Command, service="integrations"):
    """Send a delivery again with the same ``webhook-id``."""

    endpoint_id: UUID
    delivery_id: UUID


class SendDueWebhooks(Command, service="integrations"):
    """Wake the webhook sender, as deliveries are due."""


class ChangeEndpoint(Command, service="integrations"):
    """Change the given fields of an endpoint."""

    endpoint_id: UUID
    expected_version: int
    changes: dict[str, Any]


class CreateEndpoint(Command, service="integrations"):
    """Create an endpoint that receives events at ``url``."""

    url: str
    description: str
    event_types: list[str]


class DeleteEndpoint(Command, service="integrations"):
    """Delete an endpoint and its deliveries."""

    endpoint_id: UUID


class ListEndpoints(Command, service="integrations"):
    """Return a page of endpoints, newest first."""

    limit: int
    after: UUID | None


class ReplayEvents(Command, service="integrations"):
    """Send past events to an endpoint again: those it has not accepted, or all if ``all_events``."""

    endpoint_id: UUID
    since: datetime
    until: datetime | None
    all_events: bool


class RotateSecret(Command, service="integrations"):
    """Create a new secret, which only this response contains."""

    endpoint_id: UUID


class SendTestWebhook(Command, service="integrations"):
    """Send a WEBHOOK_TEST event and return the outcome."""

    endpoint_id: UUID


class ShowEndpoint(Command, service="integrations"):
    """Return an endpoint without its secret."""

    endpoint_id: UUID


class ListEvents(Command, service="integrations"):
    """Return a page of the event feed: the events after ``after``."""

    after: int | None
    types: list[str]
    limit: int


class ShowRequestTrace(Command, service="integrations"):
    """Return the events that a request has caused, and what their handlers have done."""

    request_id: str


class ListTracedRequests(Command, service="integrations"):
    """Return a page of the requests that caused events of a key or about a user, newest first."""

    key: str | None
    user_id: UUID | None
    limit: int
    after: int | None


class ShowCourseStatistics(Command, service="integrations"):
    """Return the sums of a course in total, and for each day of a period."""

    course_id: UUID
    since: date
    until: date


class ShowShopStatistics(Command, service="integrations"):
    """Return the sums of the whole shop for each day of a period."""

    since: date
    until: date
