"""The contract of a payment provider: each adapter passes the same tests against the fake of its provider."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from core.db import new_id
from models.errors import CheckoutOutcomeUnknown, PaymentRefused, ProviderOutcomeUnknown, ProviderUnavailable
from models.payments import Orders, Refund
from ops.fakes.stripe.events import signature
from tests.integration.payments.harness import PaymentsHarness, make_offer, make_stripe, make_yookassa
from tests.support.fake_processes import FakeProcess
from workers.payments.provider import PaymentRequest, Provider
from workers.payments.refunds import sync_refund
from workers.payments.stripe import Stripe
from workers.payments.yookassa import YooKassa

PURCHASE_EVENTS = ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]
PRICE_MINOR = 199000  # in roubles, which both providers accept
UNKNOWN_PAYMENT = "2d000000-000f-5000-9000-000000000000"


def stripe_webhook(object_id: str, kind: str, **fields: Any) -> dict[str, Any]:
    """Return a correctly signed webhook of Stripe as the gateway passes it on."""
    payload = {"id": f"evt_{new_id().hex}", "type": kind, "livemode": False, "data": {"object": {"id": object_id}}}
    payload["data"]["object"] |= fields
    body = json.dumps(payload).encode()
    return {"body": body, "headers": {"stripe-signature": signature(body, "whsec_local", int(time.time()))}}


def yookassa_webhook(object_id: str, kind: str, **fields: Any) -> dict[str, Any]:
    """Return a webhook of YooKassa from a known address as the gateway passes it on."""
    payload = {"id": object_id, "status": kind.partition(".")[2], "paid": True, **fields}
    body = json.dumps({"type": "notification", "event": kind, "object": payload}).encode()
    return {"body": body, "headers": {}, "address": "127.0.0.2"}


@dataclass(frozen=True, kw_only=True)
class ProviderUnderTest:
    """What differs between the providers."""

    name: str
    connect: Callable[..., Provider]
    connect_stranger: Callable[[str], Provider]  # with a wrong key
    connect_live: Callable[[str], Provider]
    live_url: str
    path: str  # of the API at the fake
    tries: int  # how often the SDK repeats a failed call
    unknown_ids: tuple[str, ...]
    webhook: Callable[..., dict[str, Any]]
    kinds: dict[str, str]  # types of the webhooks: paid, refunded, unhandled
    decline: str
    refund_failure: str
    paid_fields: dict[str, Any] = field(default_factory=dict)  # of an object that claims to be paid

    def fake(self, harness: PaymentsHarness) -> FakeProcess:
        found = harness.fake_stripe if self.name == "stripe" else harness.fake_yookassa
        assert found is not None
        return found

    def break_next_call(self, harness: PaymentsHarness, fault: str) -> None:
        self.fake(harness).faults(**{fault: self.tries})

    def receive(self, harness: PaymentsHarness, object_id: str, kind: str, **fields: Any) -> None:
        """Receive a webhook and run the tasks that it enqueues."""
        harness.enqueued.clear()
        message = self.webhook(object_id, self.kinds[kind], **fields)
        assert harness.receive(message, provider=self.name) == {"received": True}
        harness.run_enqueued()


STRIPE = ProviderUnderTest(
    name="stripe",
    connect=make_stripe,
    connect_stranger=lambda url: Stripe("sk_test_wrong", url=url, account="main", webhook_secrets=("whsec_local",)),
    connect_live=lambda url: Stripe("rk_live_1", url=url, account="main", webhook_secrets=("whsec_local",)),
    live_url="https://api.stripe.com",
    path="",
    tries=3,
    unknown_ids=("cs_test_unknown", "pi_unknown"),
    webhook=stripe_webhook,
    kinds={"paid": "checkout.session.completed", "refunded": "refund.updated", "unhandled": "customer.created"},
    decline="generic_decline",
    refund_failure="expired_or_canceled_card",
    paid_fields={"status": "complete", "payment_status": "paid"},
)
YOOKASSA = ProviderUnderTest(
    name="yookassa",
    connect=make_yookassa,
    connect_stranger=lambda url: YooKassa("100500", "test_wrong", url=url, trusted_networks=(), vat_code=1),
    connect_live=lambda url: YooKassa("1", "live_1", url=url, trusted_networks=(), vat_code=1),
    live_url="https://api.yookassa.ru/v3",
    path="/v3",
    tries=1,
    unknown_ids=(UNKNOWN_PAYMENT, "../me"),
    webhook=yookassa_webhook,
    kinds={"paid": "payment.succeeded", "refunded": "refund.succeeded", "unhandled": "payout.succeeded"},
    decline="insufficient_funds",
    refund_failure="rejected_by_payee",
    paid_fields={"amount": {"value": "1990.00", "currency": "RUB"}},
)


@pytest.fixture(params=[STRIPE, YOOKASSA], ids=lambda each: each.name)
def provider(request) -> ProviderUnderTest:
    return request.param


@pytest.fixture
def harness(harness_with_yookassa) -> PaymentsHarness:
    return harness_with_yookassa


@pytest.fixture
def adapter(harness, provider) -> Provider:
    return harness.providers[provider.name]


@pytest.fixture
def course_id(session):
    return make_offer(session, price_minor=PRICE_MINOR, currency="RUB")


@pytest.fixture
def checkout(harness, course_id, provider):
    return harness.checkout(course_id, provider=provider.name)


@pytest.fixture
def purchase(harness, course_id, provider):
    return harness.buy(course_id, provider=provider.name)


def refund_of(harness: PaymentsHarness, checkout: dict[str, Any]) -> Refund:
    [refund] = Refund.list_for_order(harness.session, checkout["order_id"])
    return refund


def order_amounts(harness: PaymentsHarness, checkout: dict[str, Any]) -> tuple[str, int, int]:
    """Return the order's status, its pending and its completed refund amount."""
    shown = harness.order_response(checkout)
    return shown["status"], shown["refund_pending_minor"], shown["refunded_minor"]


def refunded_amounts(harness: PaymentsHarness, adapter: Provider, checkout: dict[str, Any]) -> list[int]:
    refunds = adapter.list_refunds(harness.attempt(checkout).payment_id)
    return [refund.amount_minor for refund in refunds if refund.status == "succeeded"]


# Calls.


def test_unknown_object_returns_none(adapter, provider):
    assert [adapter.fetch(object_id) for object_id in provider.unknown_ids] == [None, None]


def test_connection_error_is_unknown_outcome(provider):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        unreachable = provider.connect(f"http://127.0.0.1:{closed.getsockname()[1]}{provider.path}")

        with pytest.raises(ProviderOutcomeUnknown):
            unreachable.fetch(provider.unknown_ids[0])


def test_auth_error_is_provider_unavailable(harness, provider):
    stranger = provider.connect_stranger(f"{provider.fake(harness).url}{provider.path}")

    with pytest.raises(ProviderUnavailable):
        stranger.fetch(provider.unknown_ids[0])


def test_live_key_requires_host_of_provider(provider):
    with pytest.raises(SystemExit, match="live key"):
        provider.connect_live("https://pay.example")

    assert provider.connect_live(provider.live_url).live_mode


def test_payment_is_found_by_each_id_and_in_lists(harness, adapter, provider, course_id, checkout):
    for _ in range(3):
        harness.checkout(course_id, provider=provider.name, user_id=new_id())
    harness.pay(checkout)
    attempt = harness.attempt(checkout)
    fetched = adapter.fetch(attempt.checkout_session_id)

    assert (fetched.attempt_id, fetched.amount_minor) == (str(checkout["id"]), PRICE_MINOR)
    assert adapter.fetch(fetched.payment_id) == fetched
    assert adapter.find(PaymentRequest.from_attempt(attempt, harness.order(checkout))) == fetched


# Checkouts.


def test_rate_limited_checkout_can_be_repeated(harness, provider, course_id):
    provider.fake(harness).faults(error_429=1)
    with pytest.raises(ProviderUnavailable):
        harness.checkout(course_id, provider=provider.name)

    assert harness.checkout(course_id, provider=provider.name)["status"] == "requires_action"


@pytest.mark.parametrize("fault", ["error_500", "drop_response_after_commit"])
def test_retry_after_unknown_outcome_charges_once(harness, provider, course_id, fault):
    provider.break_next_call(harness, fault)
    with pytest.raises(CheckoutOutcomeUnknown) as unknown:
        harness.checkout(course_id, provider=provider.name)
    order = Orders(harness.session).get_for_update(unknown.value.args[0])
    assert (order.status, [attempt.status for attempt in order.attempts]) == ("pending", ["unknown"])

    checkout = harness.checkout(course_id, provider=provider.name)

    assert str(checkout["order_id"]) == unknown.value.args[0]
    harness.pay(checkout)
    assert harness.return_from_checkout(checkout)["status"] == "paid"
    assert [row["amount_minor"] for row in provider.fake(harness).payments_of(unknown.value.args[0])] == [PRICE_MINOR]


def test_return_without_payment_leaves_order_pending(harness, checkout):
    assert harness.return_from_checkout(checkout)["status"] == "pending"


def test_buyer_can_retry_after_decline(harness, provider, course_id, checkout):
    harness.pay(checkout, "decline")
    assert harness.return_from_checkout(checkout)["status"] == "pending"
    assert (harness.attempt(checkout).status, harness.attempt(checkout).problem) == ("failed", provider.decline)

    again = harness.checkout(course_id, provider=provider.name)
    harness.pay(again)
    harness.return_from_checkout(again)

    assert again["order_id"] == checkout["order_id"]
    assert harness.event_types(checkout) == ["ORDER_CREATED", "PAYMENT_FAILED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


# Webhooks.


def test_webhook_is_stored_once_before_processing(harness, provider, checkout):
    harness.pay(checkout)
    message = provider.webhook(harness.attempt(checkout).checkout_session_id, provider.kinds["paid"])

    assert [harness.receive(message, provider=provider.name) for _ in range(3)] == [{"received": True}] * 3

    [event] = harness.provider_events()
    assert event.status == "received"
    assert harness.enqueued == [("payments.apply_provider_event", {"provider_event_id": event.id})]
    assert harness.order(checkout).status == "pending"


def test_webhook_pays_order_once(harness, provider, checkout):
    harness.pay(checkout)
    for _ in range(2):
        provider.receive(harness, harness.attempt(checkout).checkout_session_id, "paid")

    assert harness.event_types(checkout) == PURCHASE_EVENTS
    assert {event.status for event in harness.provider_events()} == {"applied"}


def test_webhook_body_is_not_trusted(harness, provider, checkout):
    provider.receive(harness, harness.attempt(checkout).checkout_session_id, "paid", **provider.paid_fields)

    assert (harness.attempt(checkout).status, harness.order(checkout).status) == ("requires_action", "pending")


def test_webhook_of_unknown_payment_is_ignored(harness, provider):
    provider.receive(harness, provider.unknown_ids[0], "paid")

    assert [event.status for event in harness.provider_events()] == ["ignored"]


def test_unhandled_webhook_type_is_not_stored(harness, provider):
    provider.receive(harness, provider.unknown_ids[0], "unhandled")

    assert harness.provider_events() == []


# Refunds.


def test_partial_refund_is_exact(harness, adapter, purchase):
    assert harness.refund(purchase, 110)["status"] == "succeeded"

    assert refunded_amounts(harness, adapter, purchase) == [110]
    assert order_amounts(harness, purchase) == ("partially_refunded", 0, 110)


@pytest.mark.parametrize("fault", ["error_500", "drop_response_after_commit"])
def test_unknown_refund_is_completed_by_job(harness, adapter, provider, purchase, fault):
    provider.break_next_call(harness, fault)
    assert harness.refund(purchase)["status"] == "unknown"
    # The amount cannot be refunded a second time before the outcome is known.
    assert order_amounts(harness, purchase) == ("paid", PRICE_MINOR, 0)

    sync_refund(harness.transactions, harness.providers, refund_id=refund_of(harness, purchase).id)

    assert refunded_amounts(harness, adapter, purchase) == [PRICE_MINOR]
    assert order_amounts(harness, purchase) == ("refunded", 0, PRICE_MINOR)


def test_pending_refund_succeeds_once_by_webhook_and_job(harness, provider, purchase):
    provider.fake(harness).faults(pending_refunds=1)
    assert harness.refund(purchase)["status"] == "pending"
    refund = refund_of(harness, purchase)
    provider.fake(harness).post(f"/__refund/{refund.object_id}", outcome="succeed")

    for _ in range(2):
        harness.receive_and_apply(refund.object_id, provider.kinds["refunded"], provider=provider.name)
        sync_refund(harness.transactions, harness.providers, refund_id=refund.id)

    assert order_amounts(harness, purchase) == ("refunded", 0, PRICE_MINOR)
    assert harness.event_types(purchase).count("PAYMENT_REFUNDED") == 1


def test_failed_refund_frees_amount(harness, provider, purchase):
    provider.fake(harness).faults(pending_refunds=1)
    harness.refund(purchase)
    refund = refund_of(harness, purchase)
    provider.fake(harness).post(f"/__refund/{refund.object_id}", outcome="fail")

    sync_refund(harness.transactions, harness.providers, refund_id=refund.id)

    assert (refund.status, refund.problem) == ("failed", provider.refund_failure)
    assert order_amounts(harness, purchase) == ("paid", 0, 0)
    assert "PAYMENT_REFUNDED" not in harness.event_types(purchase)


def test_refused_refund_frees_amount(harness, provider, purchase):
    provider.fake(harness).faults(refuse_refunds=1)
    with pytest.raises(PaymentRefused):
        harness.refund(purchase)

    assert order_amounts(harness, purchase) == ("paid", 0, 0)
    assert "PAYMENT_REFUNDED" not in harness.event_types(purchase)
