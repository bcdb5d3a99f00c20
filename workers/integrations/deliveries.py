"""Webhook deliveries: claimed in one transaction, sent outside of any, completed in another."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.integrations import Endpoint, Outcome, Parcel, WebhookDelivery
from models.log import get_logger
from models.outbox import record
from workers import job, task
from workers.resources import Poke

from .courier import Courier

log = get_logger(__name__)

SWEEP_SECONDS = 5  # a retry, or the delivery of a dead worker, may start this much late


@task
def send_due_webhooks(courier: Courier) -> None:
    """Wake the webhook sender, as deliveries are due."""
    courier.wake()


@job(every_seconds=SWEEP_SECONDS)
def sweep_webhooks(courier: Courier) -> None:
    """Wake the webhook sender for retries and for deliveries whose task was lost or whose worker died."""
    courier.wake()


@task
def claim_deliveries(session: Session, *, busy: dict[UUID, int], limit: int) -> list[Parcel]:
    """Claim up to ``limit`` due deliveries. ``busy`` is the number of attempts in progress per endpoint."""
    return list(WebhookDelivery.claim(session, busy=busy, limit=limit, at=now()))


@task
def end_attempt(session: Session, *, endpoint_id: UUID, delivery_id: UUID, attempt: int, outcome: Outcome) -> None:
    """Store the outcome of an attempt. Raises NotFound if the endpoint has been deleted during the attempt."""
    endpoint = Endpoint.locked(session, endpoint_id)
    WebhookDelivery.locked(session, delivery_id, endpoint_id).end_attempt(attempt, outcome, at=now())
    if news := endpoint.note(outcome, at=now()):
        record(session, endpoint, news)
        log.error("webhook endpoint disabled", endpoint_id=endpoint_id, reason=news.reason)


@task
def list_deliveries(
    session: Session, *, endpoint_id: UUID, status: str | None, limit: int, after: UUID | None
) -> dict[str, Any]:
    """Return a page of an endpoint's deliveries, newest first: {"items", "next"}. Raises NotFound."""
    Endpoint.of(session, endpoint_id)
    found = WebhookDelivery.page(session, endpoint_id, status=status, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.view() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def replay_delivery(session: Session, poke: Poke, *, endpoint_id: UUID, delivery_id: UUID) -> dict[str, Any]:
    """Send a delivery again with the same ``webhook-id``. Raises NotFound, EndpointDisabled."""
    Endpoint.locked(session, endpoint_id).refuse_disabled()
    delivery = WebhookDelivery.locked(session, delivery_id, endpoint_id)
    delivery.replay(at=now())
    poke("integrations.send_due_webhooks")
    return delivery.view()
