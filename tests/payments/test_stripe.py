"""The Stripe adapter: translation of Stripe's objects and errors."""

import os
import socket
import subprocess
import sys

import pytest

import settings
from models.errors import ProviderOutcomeUnknown, ProviderUnavailable
from tests.payments.harness import make_offer, make_stripe
from workers.payments.stripe import Stripe
from workers.payments.stripe_mapping import map_status as neutral_status

OPEN = {"status": "open", "payment_status": "unpaid"}
COMPLETE = {"status": "complete", "payment_status": "unpaid"}
EXPIRED = {"status": "expired", "payment_status": "unpaid"}
PAID = {"status": "complete", "payment_status": "paid"}
DECLINED = {"status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}}


@pytest.mark.parametrize(
    ("page", "payment", "status"),
    [
        (OPEN, {}, "requires_action"),
        (OPEN, {"status": "requires_payment_method"}, "requires_action"),
        (OPEN, {"status": "requires_action"}, "requires_action"),
        (OPEN, DECLINED, "failed"),
        (OPEN, {"status": "succeeded"}, "succeeded"),
        (COMPLETE, {"status": "processing"}, "processing"),
        (COMPLETE, {}, "processing"),
        (COMPLETE, {"status": "requires_capture"}, "authorized"),
        (COMPLETE, DECLINED, "failed"),
        (COMPLETE, {"status": "canceled"}, "canceled"),
        (PAID, {"status": "succeeded"}, "succeeded"),
        (COMPLETE | {"payment_status": "no_payment_required"}, {}, "succeeded"),
        (EXPIRED, {}, "expired"),
        (EXPIRED, DECLINED, "expired"),
        (EXPIRED, {"status": "canceled"}, "expired"),
        (EXPIRED, {"status": "succeeded"}, "succeeded"),
    ],
)
def test_stripe_status_mapping(page, payment, status):
    assert neutral_status(page, payment) == status


def test_session_is_found_by_its_payment_id(harness, session):
    checkout = harness.checkout(make_offer(session))
    harness.pay(checkout)
    stripe = harness.providers["stripe"]
    by_page = stripe.fetch(harness.attempt(checkout).checkout_session_id)
    assert (by_page.status, by_page.captured_minor, by_page.attempt_id) == ("succeeded", 4900, str(checkout["id"]))
    assert stripe.fetch(by_page.payment_id) == by_page


def test_unknown_stripe_object_returns_none(stripe):
    assert stripe.fetch("cs_test_unknown") is None
    assert stripe.fetch("pi_unknown") is None


def test_connection_error_is_unknown_outcome():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        unreachable = make_stripe(f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(ProviderOutcomeUnknown):
            unreachable.fetch("cs_test_1")


def test_auth_error_is_provider_unavailable(fake_stripe):
    stranger = Stripe("sk_test_wrong", url=fake_stripe.url, account="main", webhook_secrets=("whsec_local",))
    with pytest.raises(ProviderUnavailable):
        stranger.fetch("cs_test_1")


def test_live_key_requires_stripe_host(fake_stripe):
    with pytest.raises(SystemExit, match="live key"):
        Stripe("sk_live_1", url=fake_stripe.url, account="main", webhook_secrets=("whsec_local",))
    live = Stripe("rk_live_1", url="https://api.stripe.com", account="main", webhook_secrets=("whsec_local",))
    assert live.live_mode


@pytest.mark.parametrize("secrets", [(), ("",), ("whsec_local", "")])
def test_empty_webhook_secret_is_rejected(fake_stripe, secrets):
    with pytest.raises(SystemExit, match="empty"):
        make_stripe(fake_stripe.url, webhook_secrets=secrets)


def test_settings_reject_empty_webhook_secret():
    environ = os.environ | {"STRIPE_WEBHOOK_SECRET": "whsec_new,"}
    started = subprocess.run(  # noqa: PLW1510 the process must fail
        [sys.executable, "-c", "import settings"], cwd=settings.ROOT, env=environ, capture_output=True
    )
    assert started.returncode == 1
    assert b"STRIPE_WEBHOOK_SECRET contains an empty secret" in started.stderr
