"""Prometheus metrics that are read from the tables of integrations."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db import utc_now
from models.integrations import Endpoint, WebhookDelivery
from workers import database_metric
from workers.runtime.metrics import Rows


@database_metric("coursebus_webhook_deliveries", "Webhook deliveries to integrators by status.", "status")
def webhook_deliveries(session: Session) -> Rows:
    return session.execute(select(WebhookDelivery.status, func.count()).group_by(WebhookDelivery.status))


@database_metric("coursebus_webhook_endpoints_disabled", "Disabled webhook endpoints by reason.", "reason")
def webhook_endpoints_disabled(session: Session) -> Rows:
    disabled = select(Endpoint.disabled_reason, func.count()).where(Endpoint.disabled_at.is_not(None))
    return session.execute(disabled.group_by(Endpoint.disabled_reason))


@database_metric(
    "coursebus_webhooks_out_waiting_seconds", "Time since the oldest due delivery to a working endpoint became due."
)
def oldest_due_webhook(session: Session) -> Rows:
    return [(WebhookDelivery.oldest_due_seconds(session, at=utc_now()),)]
