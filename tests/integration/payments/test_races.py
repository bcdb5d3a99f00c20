"""Concurrent requests with real commits, in a database of their own and with the service's database role."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import session_factory
from models.errors import AlreadyPurchased
from models.payments import Order, Orders, PaymentAttempt
from tests.integration.payments.harness import (
    CONCURRENCY,
    CommittingTransactions,
    event_types,
    make_offer,
    paid_snapshot,
)
from tests.support.polling import eventually, run_concurrently
from workers import payments
from workers.payments.checkouts import start_checkout
from workers.payments.payment_flow import apply_payment_snapshot
from workers.payments.stripe_amounts import StripeAmounts


@pytest.fixture
def course_id(database):
    with session_factory("payments").begin() as session:
        return make_offer(session)


@pytest.fixture
def message(course_id) -> dict[str, Any]:
    """The message of a checkout."""
    terms = {"provider": "stripe", "success_url": "https://shop.test/done", "cancel_url": None, "receipt_email": None}
    return {"user_id": uuid4(), "course_id": course_id, "plan_id": None, **terms}


@pytest.fixture
def check_out(message, stripe) -> Callable[[], dict[str, Any]]:
    return partial(start_checkout, CommittingTransactions(), {"stripe": stripe}, **message)


def apply_success(attempt: PaymentAttempt) -> None:
    """Apply the success of an attempt in its own transaction."""
    with session_factory("payments").begin() as session:
        apply_payment_snapshot(session, attempt, paid_snapshot(attempt, payment_id=f"pi_{attempt.id}"))


def orders_of(session: Session, user_id) -> list[Order]:
    return list(session.scalars(select(Order).where(Order.user_id == user_id)))


def test_concurrent_success_snapshots_fulfil_once(check_out):
    checkout = check_out()
    with session_factory("payments")() as session:
        attempt = session.get_one(PaymentAttempt, checkout["id"])
    run_concurrently(*[partial(apply_success, attempt)] * CONCURRENCY)
    with session_factory("payments")() as session:
        assert event_types(session, checkout["order_id"]) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_concurrent_payments_fulfil_once(check_out):
    checkout = check_out()
    with session_factory("payments").begin() as session:
        order = Orders(session).get_for_update(checkout["order_id"])
        [open_one] = order.attempts
        ended = [
            PaymentAttempt.create(open_one.terms, ttl=timedelta(hours=1), at=open_one.created_at)
            for _ in range(CONCURRENCY - 1)
        ]
        for attempt in ended:
            attempt.status = "expired"
        order.attempts += ended
    run_concurrently(*[partial(apply_success, attempt) for attempt in (open_one, *ended)])
    with session_factory("payments")() as session:
        statuses = sorted(attempt.status for attempt in Orders(session).get_for_update(order.id).attempts)
        assert statuses == ["duplicate"] * (CONCURRENCY - 1) + ["succeeded"]
        assert event_types(session, order.id) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_concurrent_checkouts_share_one_order_and_session(check_out, message):
    checkouts = run_concurrently(*[check_out] * CONCURRENCY)
    assert len({(checkout["id"], checkout["redirect_url"]) for checkout in checkouts}) == 1
    with session_factory("payments")() as session:
        [order] = orders_of(session, message["user_id"])
        assert len(Orders(session).get_for_update(order.id).attempts) == 1
        assert event_types(session, order.id) == ["ORDER_CREATED"]


def test_checkout_waits_for_concurrent_payment(check_out, message, database):
    checkout = check_out()
    with ThreadPoolExecutor(1) as pool:
        with session_factory("payments").begin() as session:
            attempt = session.get_one(PaymentAttempt, checkout["id"])
            apply_payment_snapshot(session, attempt, paid_snapshot(attempt))
            waiting_checkout = pool.submit(check_out)
            eventually(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "the checkout")
        with pytest.raises(AlreadyPurchased):
            waiting_checkout.result()
    with session_factory("payments")() as session:
        assert len(orders_of(session, message["user_id"])) == 1


@pytest.fixture
def send(deliver, message, stripe, monkeypatch) -> Callable[..., dict[str, Any]]:
    """Execute the checkout as the worker does, with an Idempotency-Key."""
    monkeypatch.setattr(payments, "_PROVIDERS", {"stripe": stripe})

    def send(fingerprint: str = "as sent") -> dict[str, Any]:
        claim = {"scope": "a buyer POST /v1/checkouts", "key": "once", "fingerprint": fingerprint}
        return deliver("payments.start_checkout", message, claim=claim, seconds_left=10)

    return send


def test_repeated_key_replays_first_response(send):
    first, repeat = send(), send()
    assert (repeat["result"], repeat["replayed"]) == (first["result"], True)
    assert send("another body")["error"]["name"] == "IdempotencyKeyReused"


def test_concurrent_duplicates_get_same_response(send):
    answers = run_concurrently(*[send] * 4)
    assert len({answer["result"]["id"] for answer in answers}) == 1
    assert sum(not answer.get("replayed", False) for answer in answers) == 1


def test_retry_after_unknown_outcome_does_not_wait_for_lease(send, fake_stripe):
    fake_stripe.faults(error_500=3)
    began = time.monotonic()
    assert send()["error"]["name"] == "CheckoutOutcomeUnknown"
    assert send()["result"]["status"] == "requires_action"
    assert time.monotonic() - began < 5


def test_permanent_refusal_is_replayed(send, deliver, course_id, monkeypatch):
    # The account settles in a currency whose minimum is unknown, so only Stripe refuses the charge.
    monkeypatch.setattr(StripeAmounts, "check_charge", lambda *_: None)
    change = {"slug": "s", "title": "S", "on_sale": True, "currency": "USD", "updated_at": "2026-01-01T00:00:00Z"}
    deliver("payments.update_offer", {"event": {"course_id": course_id, "price_minor": 1, **change}})
    assert [send()["error"]["name"] for _ in range(2)] == ["PaymentRefused"] * 2
    deliver("payments.update_offer", {"event": {"course_id": course_id, "price_minor": 4900, **change}})
    repeat = send()
    assert (repeat["error"]["name"], repeat["replayed"]) == ("PaymentRefused", True)


def test_repeated_event_is_handled_once(deliver, database, course_id):
    event = {
        "course_id": course_id,
        "course_version": 2,
        "slug": "sourdough",
        "title": "Sourdough",
        "instructor_id": uuid4(),
        "price_minor": 5900,
        "currency": "USD",
        "sequential": False,
        "sections": [],
        "published_at": "2026-01-01T00:00:00Z",
    }
    event_id = uuid4()
    replies = [deliver("payments.upsert_offer", {"event": event}, event_id=event_id) for _ in range(2)]
    assert [reply.get("replayed", False) for reply in replies] == [False, True]
    assert database.rows("SELECT amount_minor FROM payments.offers") == [(5900,)]
