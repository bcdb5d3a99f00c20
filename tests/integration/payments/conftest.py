"""Fixtures: the fakes of both providers in processes of their own, and the payments harness in front of them."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from core import clock
from core.db import session_factory, utc_now
from models.payments import PaymentAttempt, Plan, ProviderPull, Subscription
from tests.integration.payments.harness import (
    CommittingTransactions,
    PaymentsHarness,
    make_offer,
    make_stripe,
    make_yookassa,
)
from tests.integration.payments.subscription_steps import Clock, subscribe
from tests.support.fake_processes import FakeProcess, WebhookReceiver
from workers.payments.checkouts import start_checkout
from workers.payments.payment_sync import sync_attempt
from workers.payments.stripe import EVENT_LIST_DELAY

NO_FAULTS = {
    "error_500": 0,
    "error_429": 0,
    "drop_response_after_commit": 0,
    "drop_webhooks": 0,
    "delay_ms": 0,
    "pending_refunds": 0,
    "refuse_refunds": 0,
}


@pytest.fixture(scope="session")
def receiver() -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def running_fake_stripe(tmp_path_factory, receiver) -> Iterator[FakeProcess]:
    fake_stripe = FakeProcess("stripe", tmp_path_factory.mktemp("stripe"), receiver.url)
    yield fake_stripe
    fake_stripe.kill()


@pytest.fixture
def fake_stripe(running_fake_stripe) -> Iterator[FakeProcess]:
    yield running_fake_stripe
    running_fake_stripe.faults(**NO_FAULTS)


@pytest.fixture(scope="session")
def stripe(running_fake_stripe):
    return make_stripe(running_fake_stripe.url)


@pytest.fixture(scope="session")
def running_fake_yookassa(tmp_path_factory, receiver) -> Iterator[FakeProcess]:
    fake_yookassa = FakeProcess("yookassa", tmp_path_factory.mktemp("yookassa"), receiver.url)
    yield fake_yookassa
    fake_yookassa.kill()


@pytest.fixture
def fake_yookassa(running_fake_yookassa) -> Iterator[FakeProcess]:
    yield running_fake_yookassa
    running_fake_yookassa.faults(**NO_FAULTS)


@pytest.fixture
def harness_with_yookassa(harness: PaymentsHarness, fake_yookassa) -> PaymentsHarness:
    """Return a harness in which both providers are configured."""
    harness.fake_yookassa = fake_yookassa
    harness.providers = {**harness.providers, "yookassa": make_yookassa(f"{fake_yookassa.url}/v3")}
    return harness


@pytest.fixture
def harness(session: Session, stripe, fake_stripe, receiver) -> PaymentsHarness:
    return PaymentsHarness(session, {"stripe": stripe}, fake_stripe, receiver)


@pytest.fixture
def webhooks_disabled(harness: PaymentsHarness) -> None:
    """Switch webhooks off at both providers. For tests with both providers."""
    for fake in (harness.fake_stripe, harness.fake_yookassa):
        assert fake is not None
        fake.faults(drop_webhooks=1000)


@pytest.fixture
def earlier_events_pulled(harness: PaymentsHarness) -> None:
    """Mark the events of other tests as fetched."""
    for name, provider in harness.providers.items():
        ProviderPull.finish(harness.session, name, provider.account, until=utc_now() + EVENT_LIST_DELAY)


@pytest.fixture
def committed_checkout(database, stripe, fake_stripe) -> dict:
    """The committed checkout of a paid order."""
    with session_factory("payments").begin() as session:
        course_id = make_offer(session)
    message = {"provider": "stripe", "success_url": "https://shop.test/done", "cancel_url": None, "receipt_email": None}
    checkout = start_checkout(
        CommittingTransactions(), {"stripe": stripe}, user_id=uuid4(), course_id=course_id, plan_id=None, **message
    )
    with session_factory("payments")() as session:
        fake_stripe.pay(session.get_one(PaymentAttempt, checkout["id"]).checkout_session_id, "succeed")
    sync_attempt(CommittingTransactions(), {"stripe": stripe}, attempt_id=checkout["id"])
    return checkout


@pytest.fixture
def time(monkeypatch) -> Clock:
    patched_clock = Clock()
    monkeypatch.setattr(clock, "business_now", patched_clock)
    return patched_clock


@pytest.fixture(params=["stripe", "yookassa"])
def provider(request) -> str:
    return request.param


@pytest.fixture
def make_plan(session):
    def make(**fields) -> Plan:
        course_ids = [str(make_offer(session)) for _ in range(2)]
        defaults = {"name": "All of baking", "amount_minor": 99000, "currency": "RUB", "interval": "month"}
        plan = Plan.create(at=utc_now(), **defaults | {"trial_days": 0, "course_ids": course_ids} | fields)
        session.add(plan)
        session.flush()
        return plan

    return make


@pytest.fixture
def plan(make_plan) -> Plan:
    return make_plan()


@pytest.fixture
def subscription(harness_with_yookassa, plan, provider) -> Subscription:
    """A subscription whose first period was paid at a checkout session."""
    return subscribe(harness_with_yookassa, plan, provider)
