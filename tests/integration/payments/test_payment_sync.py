from datetime import timedelta

import pytest

from core.db import utc_now
from models.errors import CheckoutOutcomeUnknown, NotFound, PaymentRefused, ProviderOutcomeUnknown
from models.payments import Orders, PaymentAttempt
from tests.integration.payments.harness import make_offer
from workers.payments.payment_sync import sync_attempt, sync_attempts


@pytest.fixture
def course_id(session):
    return make_offer(session)


@pytest.fixture
def checkout(harness, course_id):
    return harness.checkout(course_id)


@pytest.fixture
def attempt_with_lost_response(harness, course_id):
    """The attempt of a checkout whose session was opened while the provider's response was lost."""
    return checkout_with_fault(harness, course_id, "drop_response_after_commit")


@pytest.fixture
def unsent_attempt(harness, course_id):
    """The attempt of a checkout that never reached the provider."""
    return checkout_with_fault(harness, course_id, "error_500")


def checkout_with_fault(harness, course_id, fault) -> PaymentAttempt:
    harness.fake_stripe.faults(**{fault: 3})
    with pytest.raises(CheckoutOutcomeUnknown) as unknown:
        harness.checkout(course_id)
    [attempt] = Orders(harness.session).get_for_update(unknown.value.args[0]).attempts
    return attempt


def age(attempt: PaymentAttempt, **ago) -> None:
    attempt.created_at -= timedelta(**ago)
    attempt.expires_at -= timedelta(**ago)


def test_checkout_of_another_user_is_not_found(harness, checkout):
    with pytest.raises(NotFound):
        harness.return_from_checkout(checkout, user_id=checkout["id"])
    with pytest.raises(NotFound):
        harness.return_from_checkout({"id": harness.buyer})


def test_settled_checkout_needs_no_provider_call(harness, checkout):
    harness.pay(checkout)
    harness.return_from_checkout(checkout)
    harness.fake_stripe.faults(error_500=3)
    assert harness.return_from_checkout(checkout)["status"] == "paid"


def test_lost_session_is_found_by_same_key(harness, attempt_with_lost_response):
    sync_attempt(harness.transactions, harness.providers, attempt_id=attempt_with_lost_response.id)
    assert (attempt_with_lost_response.status, attempt_with_lost_response.checkout_session_open) == (
        "requires_action",
        True,
    )


def test_payment_on_lost_session_is_found_by_sync(harness, attempt_with_lost_response):
    harness.fake_stripe.pay(harness.checkout_sessions()[0]["id"], "succeed")
    sync_attempt(harness.transactions, harness.providers, attempt_id=attempt_with_lost_response.id)
    assert attempt_with_lost_response.status == "succeeded"


def test_unsent_session_is_opened_by_same_key(harness, unsent_attempt):
    sync_attempt(harness.transactions, harness.providers, attempt_id=unsent_attempt.id)
    assert (unsent_attempt.status, unsent_attempt.checkout_session_open) == ("requires_action", True)


def test_lost_session_found_when_key_replays_error(harness, attempt_with_lost_response):
    harness.fake_stripe.faults(error_500=3)
    sync_attempt(harness.transactions, harness.providers, attempt_id=attempt_with_lost_response.id)
    assert attempt_with_lost_response.status == "requires_action"


def test_unresolved_attempt_stays_unknown(harness, unsent_attempt):
    harness.fake_stripe.faults(error_500=3)
    with pytest.raises(ProviderOutcomeUnknown):
        sync_attempt(harness.transactions, harness.providers, attempt_id=unsent_attempt.id)
    assert unsent_attempt.status == "unknown"


def test_payment_on_lost_session_is_found_by_webhook(harness, attempt_with_lost_response):
    checkout_session_id = harness.checkout_sessions()[0]["id"]
    harness.fake_stripe.pay(checkout_session_id, "succeed")
    harness.receive_and_apply(checkout_session_id, "checkout.session.completed")
    assert (attempt_with_lost_response.status, attempt_with_lost_response.checkout_session_id) == (
        "succeeded",
        checkout_session_id,
    )


def test_lost_session_with_expired_key_is_found_in_list(harness, attempt_with_lost_response):
    age(attempt_with_lost_response, hours=23, minutes=1)
    attempt_with_lost_response.expires_at = utc_now()  # the fake's session is younger than its attempt now
    [page, *_] = before = harness.checkout_sessions()
    sync_attempt(harness.transactions, harness.providers, attempt_id=attempt_with_lost_response.id)
    assert (attempt_with_lost_response.status, attempt_with_lost_response.checkout_session_id) == (
        "requires_action",
        page["id"],
    )
    assert harness.checkout_sessions() == before


def test_unlisted_session_with_expired_key_expires_attempt(harness, unsent_attempt):
    age(unsent_attempt, hours=23, minutes=1)
    sync_attempt(harness.transactions, harness.providers, attempt_id=unsent_attempt.id)
    order = Orders(harness.session).get_for_update(unsent_attempt.order_id)
    assert (unsent_attempt.status, order.status) == ("expired", "expired")


def test_refusal_during_sync_fails_attempt(harness, unsent_attempt):
    age(unsent_attempt, hours=22, minutes=45)  # the session would be open for less than Stripe's minimum
    with pytest.raises(PaymentRefused):
        sync_attempt(harness.transactions, harness.providers, attempt_id=unsent_attempt.id)
    assert unsent_attempt.status == "failed"
    # the provider is not called again
    sync_attempt(harness.transactions, harness.providers, attempt_id=unsent_attempt.id)
    assert unsent_attempt.status == "failed"


def test_job_enqueues_and_reschedules_due_attempt(harness, session, checkout):
    attempt = harness.attempt(checkout)
    hint = ("payments.sync_attempt", {"attempt_id": attempt.id})
    sync_attempts(session, harness.enqueue_after_commit)
    assert hint not in harness.enqueued
    attempt.next_sync_at = utc_now()
    for _ in range(2):
        sync_attempts(session, harness.enqueue_after_commit)
    assert harness.enqueued.count(hint) == 1
    assert attempt.next_sync_at > utc_now() + timedelta(seconds=100)


def test_sync_attempt_finds_payment(harness, checkout):
    harness.pay(checkout)
    harness.sync(checkout)
    assert harness.order(checkout).status == "paid"
    assert harness.attempt(checkout).next_sync_at is None


def test_open_session_is_polled_with_backoff_until_expiry():
    at = utc_now()
    attempt = PaymentAttempt(created_at=at, expires_at=at + timedelta(hours=23), syncs=0)
    minutes = []
    while at < attempt.expires_at:
        attempt.postpone_sync(at=at)
        minutes.append((attempt.next_sync_at - at) / timedelta(minutes=1))
        at = attempt.next_sync_at
    assert minutes[:5] == [2, 4, 8, 16, 32]
    assert at == attempt.expires_at + timedelta(minutes=1)
    assert len(minutes) < 15
