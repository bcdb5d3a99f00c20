"""Webhook endpoints: create, show, change, delete, test and replay past events."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from core.db import new_id, utc_now
from models.commands import SendDueWebhooks
from models.errors import WebhookUrlNotAllowed
from models.integrations import Endpoint, WebhookDelivery
from workers import task
from workers.runtime import safe_http
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .webhook_sender import post

TEST_TIMEOUT_SECONDS = 4  # the client waits for the result: shorter than the timeout of an attempt


@task
def create_endpoint(
    transactions: Transactions, *, url: str, description: str, event_types: list[str]
) -> dict[str, Any]:
    """Create an endpoint that receives events at ``url``. Only this response contains the secret.

    Raises WebhookUrlNotAllowed, UnknownEventType, TooManyEndpoints.
    """
    _require_allowed_url(url)
    with transactions.begin() as session:
        Endpoint.require_capacity(session)
        endpoint = Endpoint.create(url=url, description=description, event_types=event_types, at=utc_now())
        session.add(endpoint)
        return transactions.complete(session, {**endpoint.to_response(), "secret": endpoint.secret})


@task
def list_endpoints(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of endpoints, newest first: {"items", "next"}."""
    found = Endpoint.list_page(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.to_response() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def show_endpoint(session: Session, *, endpoint_id: UUID) -> dict[str, Any]:
    """Return an endpoint without its secret. Raises NotFound."""
    return Endpoint.get(session, endpoint_id).to_response()


@task
def change_endpoint(
    transactions: Transactions,
    enqueue_after_commit: EnqueueAfterCommit,
    *,
    endpoint_id: UUID,
    expected_version: int,
    changes: dict[str, Any],
) -> dict[str, Any]:
    """Change the given fields of an endpoint.

    Raises NotFound, PreconditionFailed, WebhookUrlNotAllowed, UnknownEventType.
    """
    if "url" in changes:
        _require_allowed_url(changes["url"])
    with transactions.begin() as session:
        endpoint = Endpoint.get_for_update(session, endpoint_id)
        with endpoint.edit("webhook endpoint", expected_version):
            endpoint.change(changes, at=utc_now())
        enqueue_after_commit(SendDueWebhooks())  # an endpoint that is enabled again may have due deliveries
        return transactions.complete(session, endpoint.to_response())


@task
def delete_endpoint(session: Session, *, endpoint_id: UUID) -> None:
    """Delete an endpoint and its deliveries. Raises NotFound."""
    session.delete(Endpoint.get_for_update(session, endpoint_id, to_delete=True))


@task
def rotate_secret(session: Session, *, endpoint_id: UUID) -> dict[str, Any]:
    """Create a new secret, which only this response contains. The old one also signs for a day. Raises NotFound."""
    endpoint = Endpoint.get_for_update(session, endpoint_id)
    endpoint.rotate_secret(at=utc_now())
    return {**endpoint.to_response(), "secret": endpoint.secret}


@task
def send_test_webhook(transactions: Transactions, *, endpoint_id: UUID) -> dict[str, Any]:
    """Send a WEBHOOK_TEST event and return the outcome. The event is not in the feed and is not retried.

    Raises NotFound.
    """
    with transactions.begin() as session:
        endpoint = Endpoint.get(session, endpoint_id)
    webhook_id, at = new_id(), utc_now()
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
    seconds = min(settings.WEBHOOK_TIMEOUT_SECONDS, TEST_TIMEOUT_SECONDS)
    outcome = post(endpoint.url, event, secrets=endpoint.secrets(at=at), timeout_seconds=seconds)
    with transactions.begin() as session:
        result = {"webhook_id": webhook_id, "delivered": outcome.is_success, "status_code": outcome.status_code}
        return transactions.complete(session, {**result, "error": outcome.error, "duration_ms": outcome.duration_ms})


@task
def replay_events(
    session: Session,
    enqueue_after_commit: EnqueueAfterCommit,
    *,
    endpoint_id: UUID,
    since: datetime,
    until: datetime | None,
    all_events: bool,
) -> dict[str, Any]:
    """Send past events to an endpoint again: those it has not accepted, or all if ``all_events``.

    Raises NotFound, EndpointDisabled.
    """
    endpoint = Endpoint.get_for_update(session, endpoint_id)
    endpoint.require_enabled()
    at = utc_now()
    count = WebhookDelivery.schedule_replay(
        session, endpoint, since=since, until=until or at, include_delivered=all_events, at=at
    )
    enqueue_after_commit(SendDueWebhooks())
    return {"scheduled": count}


def _require_allowed_url(url: str) -> None:
    """Raise WebhookUrlNotAllowed if webhooks must not be sent to ``url`` (SSRF protection)."""
    try:
        safe_http.resolve(url, loopback=settings.WEBHOOK_ALLOW_LOOPBACK)
    except safe_http.UrlNotAllowed as error:
        raise WebhookUrlNotAllowed(str(error)) from None
