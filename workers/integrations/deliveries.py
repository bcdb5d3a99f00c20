"""Webhook deliveries: claimed in one transaction, sent outside of any, completed in another."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from core.log import get_logger
from models.commands import SendDueWebhooks
from models.integrations import Endpoint, Outcome, WebhookDelivery, WebhookRequest
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit

from .webhook_sender import WebhookSender

log = get_logger(__name__)


@task
def send_due_webhooks(webhook_sender: WebhookSender) -> None:
    """Wake the webhook sender, as deliveries are due."""
    webhook_sender.wake()


@job
def sweep_webhooks(webhook_sender: WebhookSender) -> None:
    """Wake the webhook sender for retries and for deliveries whose task was lost or whose worker died."""
    webhook_sender.wake()


@task
def claim_deliveries(session: Session, *, busy: dict[UUID, int], limit: int) -> list[WebhookRequest]:
    """Claim up to ``limit`` due deliveries. ``busy`` is the number of attempts in progress per endpoint."""
    return list(WebhookDelivery.claim(session, in_flight=busy, limit=limit, at=utc_now()))


@task
def finish_attempt(session: Session, *, endpoint_id: UUID, delivery_id: UUID, attempt: int, outcome: Outcome) -> None:
    """Store the outcome of an attempt. Raises NotFound if the endpoint has been deleted during the attempt."""
    endpoint = Endpoint.get_for_update(session, endpoint_id)
    WebhookDelivery.get_for_update(session, delivery_id, endpoint_id).finish_attempt(attempt, outcome, at=utc_now())
    if event := endpoint.record_outcome(outcome, at=utc_now()):
        record(session, endpoint, event)
        log.error("webhook endpoint disabled", endpoint_id=endpoint_id, reason=event.reason)


@task
def list_deliveries(
    session: Session, *, endpoint_id: UUID, status: str | None, limit: int, after: UUID | None
) -> dict[str, Any]:
    """Return a page of an endpoint's deliveries, newest first: {"items", "next"}. Raises NotFound."""
    Endpoint.get(session, endpoint_id)
    found = WebhookDelivery.list_page(session, endpoint_id, status=status, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.to_response() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def replay_delivery(
    session: Session, enqueue_after_commit: EnqueueAfterCommit, *, endpoint_id: UUID, delivery_id: UUID
) -> dict[str, Any]:
    """Send a delivery again with the same ``webhook-id``. Raises NotFound, EndpointDisabled."""
    Endpoint.get_for_update(session, endpoint_id).require_enabled()
    delivery = WebhookDelivery.get_for_update(session, delivery_id, endpoint_id)
    delivery.replay(at=utc_now())
    enqueue_after_commit(SendDueWebhooks())
    return delivery.to_response()
