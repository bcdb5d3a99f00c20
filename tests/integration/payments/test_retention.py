"""Rows of payments with a retention period are pruned after it; all other rows stay."""

from datetime import timedelta

from sqlalchemy import select

from core.db import utc_now
from models.payments import OrderHistoryEntry, ProviderEvent
from tests.integration.payments.harness import make_offer, timeline_steps
from workers.payments.retention import prune_payments


def test_old_webhooks_and_order_history_are_pruned(harness, session):
    checkout = harness.checkout(make_offer(session))
    harness.pay(checkout)
    harness.complete_session(checkout)
    [event] = harness.provider_events()
    old_step, *_ = session.scalars(select(OrderHistoryEntry).where(OrderHistoryEntry.order_id == checkout["order_id"]))
    assert (event.status, old_step.step) == ("applied", "order_created")
    prune_payments(harness.transactions)
    assert harness.provider_events() == [event]

    event.finished_at = utc_now() - timedelta(days=91)
    old_step.at = utc_now() - timedelta(days=731)
    session.flush()
    prune_payments(harness.transactions)
    session.expire_all()

    assert harness.provider_events() == []
    assert timeline_steps(harness, checkout)[0] == "payment_started"


def test_pending_webhook_is_never_pruned(harness, session):
    checkout = harness.checkout(make_offer(session))
    harness.pay(checkout)
    harness.receive(harness.webhook(harness.attempt(checkout).checkout_session_id, "checkout.session.completed"))
    [event] = harness.provider_events()
    event.received_at = utc_now() - timedelta(days=900)
    session.flush()

    prune_payments(harness.transactions)

    assert session.get(ProviderEvent, event.id) is event
