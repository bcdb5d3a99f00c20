"""Events without a webhook are found by the hourly job, once."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import msgspec
import pytest
from sqlalchemy import select

from core.db import session_factory, utc_now
from models.errors import ProviderOutcomeUnknown, ProviderUnavailable
from models.payments import ProviderEvent, ProviderPull, Refund
from tests.integration.payments.harness import CommittingTransactions, PaymentsHarness, make_offer
from tests.support.polling import run_concurrently
from workers.payments.provider import ProviderNotification
from workers.payments.reconciliation import fetch_undelivered_events
from workers.payments.stripe import EVENT_LIST_DELAY
from workers.payments.webhooks import apply_provider_event

PURCHASE_EVENTS = ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]
MANY = 1000


pytestmark = pytest.mark.usefixtures("harness_with_yookassa", "earlier_events_pulled")


@pytest.fixture
def checkout(harness, session, provider):
    return harness.checkout(make_offer(session, price_minor=199000, currency="RUB"), provider=provider)


class Listing:
    """A provider without events; one of its calls fails."""

    def __init__(self, account: str, *, fails_at: int | None = None) -> None:
        self.account = account
        self.since_values: list[datetime] = []
        self._fails_at = fails_at

    def list_events(self, since: datetime) -> Iterator[ProviderNotification]:
        self.since_values.append(since)
        if len(self.since_values) == self._fails_at:
            raise ProviderUnavailable("Books")
        return iter(())


def stored_event_count(harness: PaymentsHarness, object_id: str) -> int:
    """Return the number of stored events of an object."""
    harness.session.flush()
    of_object = select(ProviderEvent).where(ProviderEvent.object_id == object_id)
    return len(list(harness.session.scalars(of_object)))


def test_payment_without_webhook_is_found_once(harness, webhooks_disabled, checkout):
    harness.pay(checkout)
    for _ in range(2):
        harness.pull()
    assert (harness.order(checkout).status, harness.event_types(checkout)) == ("paid", PURCHASE_EVENTS)
    harness.pull()
    assert harness.enqueued == []


def test_event_accepted_by_another_endpoint_is_found(harness, session):
    checkout = harness.checkout(make_offer(session))
    harness.pay(checkout)
    harness.webhook(
        harness.attempt(checkout).checkout_session_id, "checkout.session.completed"
    )  # accepted, but not by this system
    harness.pull()
    assert harness.order(checkout).status == "paid"


def test_pull_continues_after_last_complete_pull(harness, session, monkeypatch):
    listing = Listing("books", fails_at=2)
    began = utc_now()
    fetch_undelivered_events(harness.transactions, {"stripe": listing}, harness.enqueue_after_commit)
    with pytest.raises(ProviderUnavailable):
        fetch_undelivered_events(harness.transactions, {"stripe": listing}, harness.enqueue_after_commit)
    fetch_undelivered_events(harness.transactions, {"stripe": listing}, harness.enqueue_after_commit)

    assert began <= listing.since_values[1] == listing.since_values[2]


@pytest.mark.parametrize(("days_ago", "since_days_ago"), [(None, 0), (9, 9), (40, 30)])
def test_first_pull_starts_at_first_attempt(harness, session, days_ago, since_days_ago):
    listing = Listing("books")
    for days in [1, days_ago] if days_ago else []:
        attempt = harness.attempt(harness.checkout(make_offer(session)))
        attempt.account, attempt.created_at = listing.account, utc_now() - timedelta(days=days)
    session.flush()

    fetch_undelivered_events(harness.transactions, {"stripe": listing}, harness.enqueue_after_commit)

    [since] = listing.since_values
    assert abs(utc_now() - timedelta(days=since_days_ago) - since) < timedelta(minutes=1)


def test_malformed_event_does_not_stop_pull(harness, session, webhooks_disabled):
    checkout = harness.checkout(make_offer(session))
    harness.pay(checkout)
    for malformed in ({"object": "charge"}, {"id": 7}, {"id": "ch_1", "payment_intent": ["pi_1"]}):
        harness.fake_stripe.post("/__events/charge.refunded", object=malformed)
    harness.fake_stripe.post("/__events/payment_intent.succeeded", data=None)
    harness.pull()
    assert harness.order(checkout).status == "paid"


def test_received_event_is_not_stored_again(harness, session):
    checkout = harness.checkout(make_offer(session))
    harness.pay(checkout)
    checkout_session_id = harness.attempt(checkout).checkout_session_id
    harness.complete_session(checkout)
    harness.pull()
    assert stored_event_count(harness, checkout_session_id) == 1


def test_late_yookassa_refund_cancellation_is_found(harness, session):
    course_id = make_offer(session, price_minor=199000, currency="RUB")
    checkout = harness.buy(course_id, provider="yookassa")
    harness.refund(checkout)
    [refund] = Refund.list_for_order(session, checkout["order_id"])
    assert harness.order(checkout).status == "refunded"
    harness.fake_yookassa.post(f"/__refund/{refund.object_id}", outcome="fail")  # YooKassa has no event for it
    for _ in range(2):
        harness.pull()
    assert (harness.order(checkout).status, refund.status) == ("paid", "failed")
    assert harness.event_types(checkout)[-2:] == ["PAYMENT_REFUNDED", "REFUND_REVERSED"]


def test_dispute_without_webhook_is_found(harness, session, webhooks_disabled):
    checkout = harness.buy(make_offer(session))
    harness.fake_stripe.post(f"/__dispute/{harness.attempt(checkout).payment_id}")
    harness.pull()
    assert harness.order(checkout).status == "disputed"


def test_unavailable_provider_does_not_stop_other_provider(harness, session, webhooks_disabled):
    checkout = harness.checkout(make_offer(session, price_minor=199000, currency="RUB"), provider="yookassa")
    harness.pay(checkout)
    harness.fake_stripe.faults(error_500=3)  # Stripe's SDK tries three times
    harness.enqueued.clear()
    with pytest.raises(ProviderOutcomeUnknown):  # the next run of the job tries again
        fetch_undelivered_events(harness.transactions, harness.providers, harness.enqueue_after_commit)
    harness.run_enqueued()
    assert harness.order(checkout).status == "paid"


def test_concurrent_pulls_store_each_event_once(database, stripe, fake_stripe):
    fake_stripe.faults(drop_webhooks=MANY)
    with session_factory("payments").begin() as session:
        ProviderPull.finish(session, "stripe", "main", until=utc_now() + EVENT_LIST_DELAY)
    client = stripe._client  # noqa: SLF001 a foreign payment without webhooks
    payment = client.v1.payment_intents.create(
        {"amount": 4900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    )
    kept: list[dict] = []
    pull = partial(
        fetch_undelivered_events,
        CommittingTransactions(),
        {"stripe": stripe},
        lambda command: kept.append(msgspec.structs.asdict(command)),
    )
    run_concurrently(*[pull] * 8)
    with session_factory("payments")() as session:
        of_payment = (ProviderEvent.object_id == payment.id) & (ProviderEvent.type == "payment_intent.succeeded")
        assert len(list(session.scalars(select(ProviderEvent).where(of_payment)))) == 1
    assert len({message["provider_event_id"] for message in kept}) == len(kept)
    for message in kept:
        # payments of other systems are ignored
        apply_provider_event(CommittingTransactions(), {"stripe": stripe}, **message)
