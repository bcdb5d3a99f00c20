"""Webhook endpoints: create, show, change, delete, test and replay past events."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from models.base import new_id, now
from models.errors import WebhookUrlRefused
from models.integrations import Endpoint, WebhookDelivery
from workers import _outbound, task
from workers._delivery import Sessions
from workers.resources import Poke

from .courier import post

TRIAL_SECONDS = 4  # the client waits for the result: shorter than the timeout of an attempt


@task
def create_endpoint(sessions: Sessions, *, url: str, description: str, event_types: list[str]) -> dict[str, Any]:
    """Create an endpoint that receives events at ``url``. Only this response contains the secret.

    Raises WebhookUrlRefused, UnknownEventType, TooManyEndpoints.
    """
    _refuse_unfit(url)
    with sessions.begin() as session:
        Endpoint.refuse_one_more(session)
        endpoint = Endpoint.begin(url=url, description=description, event_types=event_types, at=now())
        session.add(endpoint)
        return sessions.answer(session, {**endpoint.view(), "secret": endpoint.secret})


@task
def list_endpoints(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of endpoints, newest first: {"items", "next"}."""
    found = Endpoint.page(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.view() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def show_endpoint(session: Session, *, endpoint_id: UUID) -> dict[str, Any]:
    """Return an endpoint without its secret. Raises NotFound."""
    return Endpoint.of(session, endpoint_id).view()


@task
def change_endpoint(
    sessions: Sessions, poke: Poke, *, endpoint_id: UUID, expected_version: int, changes: dict[str, Any]
) -> dict[str, Any]:
    """Change the given fields of an endpoint.

    Raises NotFound, PreconditionFailed, WebhookUrlRefused, UnknownEventType.
    """
    if "url" in changes:
        _refuse_unfit(changes["url"])
    with sessions.begin() as session:
        endpoint = Endpoint.locked(session, endpoint_id)
        endpoint.revise("webhook endpoint", expected_version)
        endpoint.change(changes, at=now())
        poke("integrations.send_due_webhooks")  # an endpoint that is enabled again may have due deliveries
        return sessions.answer(session, endpoint.view())


@task
def delete_endpoint(session: Session, *, endpoint_id: UUID) -> None:
    """Delete an endpoint and its deliveries. Raises NotFound."""
    session.delete(Endpoint.locked(session, endpoint_id, to_delete=True))


@task
def rotate_secret(session: Session, *, endpoint_id: UUID) -> dict[str, Any]:
    """Create a new secret, which only this response contains. The old one also signs for a day. Raises NotFound."""
    endpoint = Endpoint.locked(session, endpoint_id)
    endpoint.rotate_secret(at=now())
    return {**endpoint.view(), "secret": endpoint.secret}


@task
def try_endpoint(sessions: Sessions, *, endpoint_id: UUID) -> dict[str, Any]:
    """Send a WEBHOOK_TEST event and return the outcome. The event is not in the feed and is not retried.

    Raises NotFound.
    """
    with sessions.begin() as session:
        endpoint = Endpoint.of(session, endpoint_id)
    webhook_id, at = new_id(), now()
    event = {
        "specversion": "1.0",
        "id": str(webhook_id),
        "source": "/integrations",
        "type": "WEBHOOK_TEST",
        "subject": str(endpoint.id),
        "time": at,
        "datacontenttype": "application/json",
        "data": {"endpoint_id": endpoint.id},
    }
    seconds = min(settings.WEBHOOK_TIMEOUT_SECONDS, TRIAL_SECONDS)
    outcome = post(endpoint.url, event, secrets=endpoint.secrets(at=at), timeout_seconds=seconds)
    with sessions.begin() as session:
        told = {"webhook_id": webhook_id, "delivered": outcome.is_good, "status_code": outcome.status_code}
        return sessions.answer(session, {**told, "error": outcome.error, "duration_ms": outcome.duration_ms})


@task
def replay_past(
    session: Session, poke: Poke, *, endpoint_id: UUID, since: datetime, until: datetime | None, all_events: bool
) -> dict[str, Any]:
    """Send past events to an endpoint again: those it has not accepted, or all if ``all_events``.

    Raises NotFound, EndpointDisabled.
    """
    endpoint = Endpoint.locked(session, endpoint_id)
    endpoint.refuse_disabled()
    at = now()
    count = WebhookDelivery.plan_past(session, endpoint, since=since, until=until or at, all_=all_events, at=at)
    poke("integrations.send_due_webhooks")
    return {"deliveries": count}


def _refuse_unfit(url: str) -> None:
    """Raise WebhookUrlRefused if webhooks must not be sent to ``url`` (SSRF protection)."""
    try:
        _outbound.resolve(url, loopback=settings.WEBHOOK_LOOPBACK)
    except _outbound.Refused as error:
        raise WebhookUrlRefused(str(error)) from None
