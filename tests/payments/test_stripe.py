"""The adapter: what Stripe's objects and errors mean to us."""

import os
import socket
import subprocess
import sys

import pytest

import settings
from models.errors import ProviderOutcomeUnknown, ProviderUnavailable
from tests.payments.shop import make_offer, make_stripe
from workers.payments.stripe import Stripe
from workers.payments.stripe_objects import status as in_our_words

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
def test_stripes_states_in_our_words(page, payment, status):
    assert in_our_words(page, payment) == status


def test_a_page_is_found_by_its_payment(shop, session):
    checkout = shop.checkout(make_offer(session))
    shop.pay(checkout)
    stripe = shop.providers["stripe"]
    by_page = stripe.fetch(shop.attempt(checkout).page_id)
    assert (by_page.status, by_page.captured_minor, by_page.attempt_id) == ("succeeded", 4900, str(checkout["id"]))
    assert stripe.fetch(by_page.payment_id) == by_page


def test_what_stripe_does_not_know_is_none(stripe):
    assert stripe.fetch("cs_test_unknown") is None
    assert stripe.fetch("pi_unknown") is None


def test_a_refused_connection_is_an_unknown_outcome():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = make_stripe(f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(ProviderOutcomeUnknown):
            away.fetch("cs_test_1")


def test_a_wrong_key_is_no_failure_of_the_buyer(standin):
    stranger = Stripe("sk_test_wrong", url=standin.url, account="main", webhook_secrets=("whsec_local",))
    with pytest.raises(ProviderUnavailable):
        stranger.fetch("cs_test_1")


def test_a_live_key_goes_to_stripes_own_host_alone(standin):
    with pytest.raises(SystemExit, match="live key"):
        Stripe("sk_live_1", url=standin.url, account="main", webhook_secrets=("whsec_local",))
    live = Stripe("rk_live_1", url="https://api.stripe.com", account="main", webhook_secrets=("whsec_local",))
    assert live.live_mode


@pytest.mark.parametrize("secrets", [(), ("",), ("whsec_local", "")])
def test_an_empty_webhook_secret_is_refused(standin, secrets):
    with pytest.raises(SystemExit, match="empty"):
        make_stripe(standin.url, webhook_secrets=secrets)


def test_a_process_with_an_empty_secret_does_not_start():
    environ = os.environ | {"STRIPE_WEBHOOK_SECRET": "whsec_new,"}
    started = subprocess.run(  # noqa: PLW1510 it is to fail
        [sys.executable, "-c", "import settings"], cwd=settings.ROOT, env=environ, capture_output=True
    )
    assert started.returncode == 1
    assert b"STRIPE_WEBHOOK_SECRET holds an empty secret" in started.stderr
