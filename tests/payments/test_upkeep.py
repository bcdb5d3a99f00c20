"""What payments keeps for a time only is pruned after it, and nothing else."""

from datetime import timedelta

from sqlalchemy import select

from models.base import now
from models.payments import OrderStep, ProviderEvent
from tests.payments.shop import make_offer, steps
from workers.payments.upkeep import prune_payments


def test_applied_webhooks_and_steps_are_pruned_after_their_time(shop, session):
    checkout = shop.checkout(make_offer(session))
    shop.pay(checkout)
    shop.hear_completed(checkout)
    [event] = shop.provider_events()
    old_step, *_ = session.scalars(select(OrderStep).where(OrderStep.order_id == checkout["order_id"]))
    assert (event.status, old_step.step) == ("applied", "order_created")
    prune_payments(shop.sessions)
    assert shop.provider_events() == [event]

    event.finished_at = now() - timedelta(days=91)
    old_step.at = now() - timedelta(days=731)
    session.flush()
    prune_payments(shop.sessions)
    session.expire_all()

    assert shop.provider_events() == []
    assert steps(shop, checkout)[0] == "payment_begun"


def test_webhook_that_waits_is_never_pruned(shop, session):
    checkout = shop.checkout(make_offer(session))
    shop.pay(checkout)
    shop.receive(shop.webhook(shop.attempt(checkout).page_id, "checkout.session.completed"))
    [event] = shop.provider_events()
    event.received_at = now() - timedelta(days=900)
    session.flush()

    prune_payments(shop.sessions)

    assert session.get(ProviderEvent, event.id) is event
