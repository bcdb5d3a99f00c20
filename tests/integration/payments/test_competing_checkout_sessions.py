"""One order, two providers: only one checkout session can be paid, and an abandoned one brings no money."""

from datetime import timedelta

import pytest

from models.errors import (
    AlreadyPurchased,
    CheckoutOutcomeUnknown,
    NotFound,
    OrderClosed,
    PaymentInProgress,
    ProviderOutcomeUnknown,
)
from models.events import EnrollmentCreated
from models.payments import Orders
from tests.integration.payments.harness import PaymentsHarness, make_offer, make_snapshot, timeline_steps
from tests.support.events import build_event
from workers.payments.orders import cancel_order, expire_orders, record_access_granted, show_timeline
from workers.payments.payment_flow import PaymentFlow
from workers.payments.payment_sync import sync_attempt

PURCHASE_EVENTS = ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


@pytest.fixture
def harness(harness_with_yookassa) -> PaymentsHarness:
    return harness_with_yookassa


@pytest.fixture
def course_id(session):
    return make_offer(session, price_minor=199000, currency="RUB")


@pytest.fixture
def yookassa_checkout(harness, course_id):
    return harness.checkout(course_id, provider="yookassa")


def cancel(harness: PaymentsHarness, checkout: dict) -> dict:
    return cancel_order(harness.transactions, harness.providers, order_id=checkout["order_id"], user_id=harness.buyer)


def payment_statuses(harness: PaymentsHarness, checkout: dict) -> list[str]:
    """Return the payments of an order at both providers that are captured or authorized."""
    at_both = (
        *harness.fake_stripe.payments_of(str(checkout["order_id"])),
        *harness.fake_yookassa.payments_of(str(checkout["order_id"])),
    )
    return [payment["status"] for payment in at_both]


# A second checkout session for the same order.


def test_stripe_session_expires_before_yookassa_session_opens(harness, course_id):
    first = harness.checkout(course_id)
    second = harness.checkout(course_id, provider="yookassa")
    assert second["order_id"] == first["order_id"]
    assert (harness.attempt(first).status, harness.attempt(second).status) == ("expired", "requires_action")
    assert harness.fake_stripe.pay(harness.attempt(first).checkout_session_id, "succeed").status_code == 409


def test_payment_on_superseded_session_is_voided(harness, course_id, yookassa_checkout):
    second = harness.checkout(course_id)
    assert (harness.attempt(yookassa_checkout).status, harness.attempt(yookassa_checkout).checkout_session_open) == (
        "canceled",
        False,
    )
    harness.pay(yookassa_checkout)
    harness.receive_and_apply(
        harness.attempt(yookassa_checkout).checkout_session_id, "payment.waiting_for_capture", provider="yookassa"
    )
    assert (payment_statuses(harness, second), harness.order(second).status) == ([], "pending")
    harness.pay(second)
    harness.return_from_checkout(second)
    assert (payment_statuses(harness, second), harness.event_types(second)) == (["succeeded"], PURCHASE_EVENTS)


def test_two_paid_sessions_capture_once(harness, course_id, yookassa_checkout):
    second = harness.checkout(course_id)
    harness.pay(second)
    harness.pay(yookassa_checkout)
    harness.return_from_checkout(second)
    harness.receive_and_apply(
        harness.attempt(yookassa_checkout).checkout_session_id, "payment.waiting_for_capture", provider="yookassa"
    )
    assert (payment_statuses(harness, second), harness.event_types(second)) == (["succeeded"], PURCHASE_EVENTS)


def test_job_voids_orphaned_authorization(harness, course_id, yookassa_checkout):
    harness.checkout(course_id)
    assert harness.attempt(yookassa_checkout).next_sync_at
    harness.pay(yookassa_checkout)
    sync_attempt(harness.transactions, harness.providers, attempt_id=yookassa_checkout["id"])
    assert payment_statuses(harness, yookassa_checkout) == []
    assert harness.attempt(yookassa_checkout).next_sync_at is None  # no outcome is expected any more


def test_session_paid_before_supersession_pays_order(harness, course_id, yookassa_checkout):
    harness.pay(yookassa_checkout)
    with pytest.raises(AlreadyPurchased):
        harness.checkout(course_id)
    assert (payment_statuses(harness, yookassa_checkout), harness.event_types(yookassa_checkout)) == (
        ["succeeded"],
        PURCHASE_EVENTS,
    )


def test_session_being_captured_is_not_superseded(harness, course_id, yookassa_checkout):
    harness.pay(yookassa_checkout)
    harness.fake_yookassa.faults(error_500=1)
    with pytest.raises(ProviderOutcomeUnknown):
        harness.return_from_checkout(yookassa_checkout)
    harness.apply(
        yookassa_checkout,
        status="authorized",
        checkout_session_open=False,
        payment_id=harness.attempt(yookassa_checkout).checkout_session_id,
    )
    with pytest.raises(AlreadyPurchased):
        harness.checkout(course_id)
    assert (payment_statuses(harness, yookassa_checkout), harness.attempt(yookassa_checkout).superseded) == (
        ["succeeded"],
        False,
    )


def test_mismatched_authorization_goes_to_review(harness, yookassa_checkout):
    attempt = harness.attempt(yookassa_checkout)
    authorized = make_snapshot(
        attempt,
        status="authorized",
        checkout_session_open=False,
        amount_minor=1,
        payment_id=attempt.checkout_session_id,
    )
    assert PaymentFlow(harness.transactions, harness.providers).capture_or_void(attempt, authorized) is authorized
    assert attempt.status == "review"


# Cancellation of an order.


def test_canceled_order_expires_its_session(harness, course_id):
    checkout = harness.checkout(course_id)
    assert cancel(harness, checkout)["status"] == "canceled"
    assert harness.fake_stripe.pay(harness.attempt(checkout).checkout_session_id, "succeed").status_code == 409
    assert harness.event_types(checkout) == ["ORDER_CREATED", "ORDER_CANCELED"]
    cancel(harness, checkout)
    assert harness.event_types(checkout) == ["ORDER_CREATED", "ORDER_CANCELED"]
    assert harness.checkout(course_id)["order_id"] != checkout["order_id"]


def test_payment_of_canceled_order_is_voided(harness, yookassa_checkout):
    cancel(harness, yookassa_checkout)
    harness.pay(yookassa_checkout)
    harness.receive_and_apply(
        harness.attempt(yookassa_checkout).checkout_session_id, "payment.waiting_for_capture", provider="yookassa"
    )
    assert (payment_statuses(harness, yookassa_checkout), harness.order(yookassa_checkout).status) == ([], "canceled")


@pytest.mark.parametrize("provider", ["stripe", "yookassa"])
def test_paid_order_cannot_be_canceled(harness, course_id, provider):
    checkout = harness.checkout(course_id, provider=provider)
    harness.pay(checkout)
    with pytest.raises(OrderClosed, match="paid"):
        cancel(harness, checkout)
    assert harness.event_types(checkout) == PURCHASE_EVENTS


def test_order_with_processing_payment_cannot_be_canceled(harness, yookassa_checkout):
    harness.apply(yookassa_checkout, status="processing", checkout_session_open=False)
    with pytest.raises(PaymentInProgress):
        cancel(harness, yookassa_checkout)


def test_order_of_another_user_cannot_be_canceled(harness, yookassa_checkout):
    with pytest.raises(NotFound):
        cancel_order(
            harness.transactions,
            harness.providers,
            order_id=yookassa_checkout["order_id"],
            user_id=yookassa_checkout["id"],
        )


def test_order_with_unknown_session_can_be_canceled(harness, course_id):
    harness.fake_yookassa.faults(drop_response_after_commit=1)
    with pytest.raises(CheckoutOutcomeUnknown) as unknown:
        harness.checkout(course_id, provider="yookassa")
    [attempt] = Orders(harness.session).get_for_update(unknown.value.args[0]).attempts
    assert cancel(harness, {"order_id": attempt.order_id})["status"] == "canceled"
    harness.fake_yookassa.pay(attempt.checkout_session_id, "succeed")
    harness.sync({"id": attempt.id})
    assert payment_statuses(harness, {"order_id": attempt.order_id}) == []


# Abandoned orders.


def test_unpayable_order_expires_after_a_day(harness, session, yookassa_checkout):
    harness.pay(yookassa_checkout, "decline")
    harness.return_from_checkout(yookassa_checkout)
    expire_orders(session)
    assert harness.order(yookassa_checkout).status == "pending"
    harness.order(yookassa_checkout).created_at -= timedelta(days=1)
    session.flush()
    for _ in range(2):
        expire_orders(session)
    assert harness.order(yookassa_checkout).status == "expired"
    assert harness.event_types(yookassa_checkout) == ["ORDER_CREATED", "PAYMENT_FAILED", "ORDER_EXPIRED"]


def test_order_with_open_session_does_not_expire(harness, session, yookassa_checkout):
    harness.order(yookassa_checkout).created_at -= timedelta(days=2)
    session.flush()
    expire_orders(session)
    assert harness.order(yookassa_checkout).status == "pending"


# The timeline.


def test_timeline_lists_steps_from_checkout_to_access(harness, session, course_id, yookassa_checkout):
    second = harness.checkout(course_id)
    harness.pay(second)
    harness.return_from_checkout(second)
    enrollment = build_event(EnrollmentCreated, source="order", source_id=str(second["order_id"]))
    record_access_granted(session, event=enrollment)
    assert timeline_steps(harness, second) == [
        "order_created",
        "payment_started",
        "payment_requires_action",
        "payment_canceled",
        "payment_started",
        "payment_requires_action",
        "order_paid",
        "payment_succeeded",
        "access_granted",
    ]


def test_timeline_is_paginated_and_visible_to_its_owner_only(harness, session, yookassa_checkout):
    order_of_buyer = {"order_id": yookassa_checkout["order_id"], "user_id": harness.buyer}
    session.flush()
    first = show_timeline(session, **order_of_buyer, limit=2, after=None)
    rest = show_timeline(session, **order_of_buyer, limit=2, after=first["next"])
    assert [step["step"] for step in first["items"] + rest["items"]] == timeline_steps(harness, yookassa_checkout)
    assert rest["next"] is None
    with pytest.raises(NotFound):
        show_timeline(session, **order_of_buyer | {"user_id": yookassa_checkout["id"]}, limit=2, after=None)
