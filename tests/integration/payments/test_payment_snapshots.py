"""Applying a provider's snapshot to an attempt and its order."""

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from core.db import utc_now
from models.payments import Orders, PaymentAttempt
from models.payments.payment_attempts import IDENTITY_FIELDS
from tests.integration.payments.harness import event_types, make_offer, paid_snapshot
from workers.payments.payment_flow import apply_payment_snapshot

CAPTURED = {"status": "succeeded", "checkout_session_open": False, "captured_minor": 4900}


@pytest.fixture
def checkout(harness, session):
    return harness.checkout(make_offer(session))


def test_success_pays_order_and_publishes_events(harness, checkout):
    harness.apply(checkout, **CAPTURED, payment_id="pi_7")
    attempt, order = harness.attempt(checkout), harness.order(checkout)
    assert (attempt.status, attempt.captured_minor, attempt.payment_id) == ("succeeded", 4900, "pi_7")
    assert (order.status, order.paid_at is not None) == ("paid", True)
    assert harness.event_types(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_repeated_snapshot_is_noop(harness, checkout):
    for _ in range(2):
        harness.apply(checkout, **CAPTURED)
    assert harness.event_types(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]
    assert harness.order(checkout).version == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_minor": 100, "captured_minor": 100},
        {"captured_minor": 100},
        {"captured_minor": 0},
        {"currency": "JPY"},
        {"live_mode": True},
        {"account": "another"},
        {"order_id": None},
        {"attempt_id": "another"},
        {"checkout_session_id": "cs_another"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_mismatched_success_goes_to_review(harness, checkout, wrong):
    harness.apply(checkout, **CAPTURED | wrong)
    attempt, order = harness.attempt(checkout), harness.order(checkout)
    # A payment of another session, account or mode is not counted.
    captured_minor = 0 if IDENTITY_FIELDS & set(wrong) else wrong.get("captured_minor", 4900)
    assert (attempt.status, attempt.captured_minor, order.status) == ("review", captured_minor, "pending")
    assert all(name in attempt.problem for name in wrong)
    assert harness.event_types(checkout) == ["ORDER_CREATED"]


def test_review_only_cleared_by_matching_success(harness, checkout):
    harness.apply(checkout, amount_minor=100)
    harness.apply(checkout)
    harness.apply(checkout, status="expired", checkout_session_open=False)
    assert harness.attempt(checkout).status == "review"
    harness.apply(checkout, **CAPTURED)
    assert (harness.attempt(checkout).status, harness.order(checkout).status) == ("succeeded", "paid")


def test_decline_publishes_event_once(harness, checkout):
    declined = {"status": "failed", "failure_reason": "insufficient_funds"}
    harness.apply(checkout, **declined)
    harness.apply(checkout, **declined)
    harness.apply(checkout, status="requires_action")
    harness.apply(checkout, **declined)
    assert (harness.attempt(checkout).status, harness.attempt(checkout).problem) == ("failed", "insufficient_funds")
    assert harness.event_types(checkout) == ["ORDER_CREATED", "PAYMENT_FAILED"]
    assert harness.order(checkout).status == "pending"


@pytest.mark.parametrize("end", ["failed", "canceled", "expired"])
def test_late_success_overrides_other_final_statuses(harness, checkout, end):
    harness.apply(checkout, status=end, checkout_session_open=False)
    harness.apply(checkout, **CAPTURED)
    assert (harness.attempt(checkout).status, harness.order(checkout).status) == ("succeeded", "paid")


@pytest.mark.parametrize("late", ["requires_action", "processing", "authorized", "failed", "canceled", "expired"])
def test_success_is_never_reverted(harness, checkout, late):
    harness.apply(checkout, **CAPTURED)
    harness.apply(checkout, status=late)
    assert (harness.attempt(checkout).status, harness.order(checkout).status) == ("succeeded", "paid")


@pytest.mark.parametrize("late", ["requires_action", "processing", "authorized", "failed"])
def test_stale_snapshot_does_not_reopen_expired_attempt(harness, checkout, late):
    harness.apply(checkout, status="expired", checkout_session_open=False)
    harness.apply(checkout, status=late)
    assert harness.attempt(checkout).status == "expired"


def test_expired_session_expires_order(harness, checkout):
    harness.apply(checkout, status="expired", checkout_session_open=False)
    assert (harness.attempt(checkout).status, harness.order(checkout).status) == ("expired", "expired")
    assert harness.attempt(checkout).next_sync_at is None
    assert harness.event_types(checkout) == ["ORDER_CREATED", "ORDER_EXPIRED"]


def test_checkout_after_expired_order_creates_new_order(harness, session):
    course_id = make_offer(session)
    first = harness.checkout(course_id)
    harness.apply(first, status="expired", checkout_session_open=False)
    assert harness.checkout(course_id)["order_id"] != first["order_id"]


def test_payment_of_paid_order_is_duplicate(harness, checkout):
    order = Orders(harness.session).get_for_update(checkout["order_id"])
    first, second = (
        order.attempts[0],
        PaymentAttempt.create(order.attempts[0].terms, ttl=timedelta(hours=1), at=utc_now()),
    )
    apply_payment_snapshot(
        harness.session, first, paid_snapshot(first, status="expired", captured_minor=0, payment_id=None)
    )
    order.attempts.append(second)
    harness.session.flush()
    for attempt, payment_id in ((second, "pi_second"), (first, "pi_first")):
        apply_payment_snapshot(harness.session, attempt, paid_snapshot(attempt, payment_id=payment_id))
    assert (second.status, first.status, first.captured_minor) == ("succeeded", "duplicate", 4900)
    assert event_types(harness.session, order.id).count("COURSE_PURCHASED") == 1


def test_database_rejects_second_live_attempt(harness, checkout):
    order = Orders(harness.session).get_for_update(checkout["order_id"])
    order.attempts.append(PaymentAttempt.create(order.attempts[0].terms, ttl=timedelta(hours=1), at=utc_now()))
    with pytest.raises(IntegrityError, match="ux_payment_attempts_live"):
        harness.session.flush()


@pytest.mark.parametrize("counters", [{"captured_minor": -1}, {"refunded_minor": -1}, {"refund_pending_minor": -1}])
def test_database_rejects_negative_counters(harness, checkout, counters):
    attempt = harness.attempt(checkout)
    for name, value in counters.items():
        setattr(attempt, name, value)
    with pytest.raises(IntegrityError, match="ck_payment_attempts"):
        harness.session.flush()
