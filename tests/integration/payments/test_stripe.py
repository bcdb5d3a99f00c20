"""The Stripe adapter: translation of Stripe's objects and errors."""

import os
import socket
import subprocess
import sys

import pytest

import settings
from models.errors import ProviderOutcomeUnknown
from tests.integration.payments.harness import make_stripe
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


def test_call_that_timed_out_is_not_repeated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "PROVIDER_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("workers.payments.stripe._RETRIED_WITHIN_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        url = f"http://127.0.0.1:{silent_server.getsockname()[1]}"
        with pytest.raises(ProviderOutcomeUnknown):
            Stripe("sk_test_x", url=url, account="default", webhook_secrets=("whsec_local",)).fetch("pi_1")
        silent_server.accept()[0].close()
        silent_server.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent_server.accept()


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
