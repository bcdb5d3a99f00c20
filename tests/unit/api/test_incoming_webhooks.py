"""Forged webhooks are rejected before they are enqueued, and webhooks do not delay other requests."""

import base64
import hashlib
import hmac
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import product

import pytest
from flask.testing import FlaskClient
from stripe import SignatureVerificationError, WebhookSignature

import settings
from api import rpc
from api.incoming_webhooks import WEBHOOK_BYTES_MAX
from core.commands import Command
from core.errors import SignatureInvalid
from core.webhook_signatures import verify_stripe
from tests.support.gateway import gateway, problem

STRIPE, YOOKASSA, MAIL, AUTH0 = (f"/v1/webhooks/{name}" for name in ("stripe", "yookassa", "email", "auth0"))


def stripe_headers(body: bytes, secret: str = settings.STRIPE_WEBHOOK_SECRETS[0], age: int = 0) -> dict[str, str]:
    signature = WebhookSignature.generate_signature_header(body.decode(), secret, int(time.time()) - age)
    return {"Stripe-Signature": signature}


def email_headers(body: bytes, secret: str = settings.EMAIL_WEBHOOK_SECRETS[0], sent_at: str = "") -> dict[str, str]:
    sent_at = sent_at or str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = base64.b64encode(hmac.digest(key, f"1.{sent_at}.".encode() + body, hashlib.sha256)).decode()
    return {"Webhook-Id": "1", "Webhook-Timestamp": sent_at, "Webhook-Signature": f"v1,{mac}"}


@pytest.fixture
def client() -> FlaskClient:
    return gateway().test_client()


@pytest.fixture
def sent(monkeypatch) -> list[str]:
    """Record the names of enqueued tasks; each gets its reply at once."""
    tasks: list[str] = []

    def record(command: Command, *_: object, **__: object) -> str:
        tasks.append(command.task)
        return "reply"

    monkeypatch.setattr(rpc, "send_request", record)
    monkeypatch.setattr(rpc.rpc, "wait_for_reply", lambda *_: {"result": {"received": True}})
    return tasks


SECRET = "whsec_of_stripe"


def is_accepted(body: bytes, header: str, *secrets: str) -> bool:
    try:
        verify_stripe(body, header, [secret.encode() for secret in secrets or (SECRET,)], at=datetime.now(UTC))
    except SignatureInvalid:
        return False
    return True


def is_accepted_by_stripe(body: bytes, header: str) -> bool:
    try:
        return WebhookSignature.verify_header(body, header, SECRET, tolerance=300)
    except SignatureVerificationError:
        return False


@pytest.mark.parametrize(
    "body", ["", "{}", '{"name": "Zoë 張伟"}\r\n', " " * 100_000], ids=["empty", "JSON", "text", "long"]
)
@pytest.mark.parametrize("age_seconds", [0, 290, -50])
def test_signature_of_the_sdk_of_stripe_is_accepted(body: str, age_seconds: int):
    header = WebhookSignature.generate_signature_header(body, SECRET, int(time.time()) - age_seconds)

    assert is_accepted_by_stripe(body.encode(), header)
    assert is_accepted(body.encode(), header)
    assert is_accepted(body.encode(), header, "whsec_new", SECRET)  # during a rotation
    assert not is_accepted(body.encode(), header, "whsec_new")
    assert not is_accepted(body.encode() + b" ", header)


def test_header_is_accepted_as_by_the_sdk_of_stripe():
    """All headers of up to three fields from this list. Both must decide in the same way."""
    now = int(time.time())
    genuine, stale, forged = (
        WebhookSignature.generate_signature_header("{}", secret, sent_at).split(",")
        for secret, sent_at in ((SECRET, now), (SECRET, now - 310), ("whsec_other", now))
    )
    fields = [*genuine, *stale, forged[1], genuine[1].upper(), f" {genuine[1]}", genuine[1][:-1]]
    fields += [genuine[1].replace("v1", "v0"), "t", "t=", "t=x", "v1", "v0=x", "x", ""]
    headers = {",".join(chosen) for count in (1, 2, 3) for chosen in product(fields, repeat=count)}

    expected = {header for header in headers if is_accepted_by_stripe(b"{}", header)}
    assert {header for header in headers if is_accepted(b"{}", header)} == {
        header for header in expected if header.count("t=") == 1
    }
    assert len(expected) > 20


@pytest.mark.parametrize(
    "changed", ["t={later},v1={signature}", "t={now},t={now},v1={signature}", "t= {now},v1={signature}"]
)
def test_header_that_only_the_sdk_of_stripe_accepts_is_rejected(changed: str):
    now = int(time.time())
    later = now + 90
    sent_at = later if "later" in changed else now
    signature = WebhookSignature.generate_signature_header("{}", SECRET, sent_at).partition("v1=")[2]
    header = changed.format(now=now, later=later, signature=signature)

    assert is_accepted_by_stripe(b"{}", header)
    assert not is_accepted(b"{}", header)


@pytest.mark.parametrize(
    ("path", "headers", "refusal"),
    [
        (STRIPE, {}, (400, "signature_invalid")),
        (STRIPE, stripe_headers(b"{}", secret="whsec_other"), (400, "signature_invalid")),
        (STRIPE, stripe_headers(b"{} "), (400, "signature_invalid")),
        (STRIPE, stripe_headers(b"{}", age=301), (400, "signature_invalid")),
        (STRIPE, {"Stripe-Signature": f"t={'9' * 5000},v1=0"}, (400, "signature_invalid")),
        (MAIL, {}, (400, "signature_invalid")),
        (MAIL, email_headers(b"{}", secret="whsec_b3RoZXI="), (400, "signature_invalid")),
        (MAIL, email_headers(b"{}", sent_at="9" * 400), (400, "signature_invalid")),
        (MAIL, email_headers(b"{}", sent_at="1"), (400, "signature_invalid")),
        (AUTH0, {}, (401, "webhook_unauthorized")),
        (AUTH0, {"Authorization": "Bearer guess"}, (401, "webhook_unauthorized")),
        (YOOKASSA, {}, (403, "sender_not_allowed")),
        (YOOKASSA, {"X-Forwarded-For": "127.0.0.2"}, (403, "sender_not_allowed")),
    ],
)
def test_forged_webhook_is_rejected_before_enqueueing(client, sent, path, headers, refusal):
    assert problem(client.post(path, data=b"{}", headers=headers)) == refusal
    assert sent == []


@pytest.mark.parametrize("address", ["1.2.3.4:99999", "unknown", "x" * 300, "[::1", ""])
def test_malformed_sender_address_returns_403(client, sent, monkeypatch, address):
    monkeypatch.setattr(settings, "TRUSTED_PROXIES", 1)

    response = client.post(YOOKASSA, data=b"{}", headers={"X-Forwarded-For": address})
    assert problem(response) == (403, "sender_not_allowed")


@pytest.mark.parametrize(
    ("path", "headers", "environ", "task"),
    [  # signatures are made within the test: they expire after five minutes
        (STRIPE, lambda: stripe_headers(b"{}"), {}, "payments.receive_webhook"),
        (YOOKASSA, dict, {"REMOTE_ADDR": "127.0.0.2"}, "payments.receive_webhook"),
        (YOOKASSA, dict, {"REMOTE_ADDR": "::ffff:127.0.0.2"}, "payments.receive_webhook"),
        (MAIL, lambda: email_headers(b"{}"), {}, "notifications.receive_email_event"),
        (
            AUTH0,
            lambda: {"Authorization": f"Bearer {settings.AUTH0_WEBHOOK_TOKENS[0]}"},
            {},
            "users.receive_auth0_webhook",
        ),
    ],
)
def test_genuine_webhook_is_enqueued(client, sent, path, headers, environ, task):  # noqa: PLR0917 columns of a table
    assert client.post(path, data=b"{}", headers=headers(), environ_base=environ).json == {"received": True}
    assert sent == [task]


@pytest.mark.parametrize("path", [STRIPE, MAIL, AUTH0, YOOKASSA])
def test_oversized_webhook_body_returns_413(client, sent, path):
    body = b"x" * (WEBHOOK_BYTES_MAX + 1)
    headers = {"Authorization": f"Bearer {settings.AUTH0_WEBHOOK_TOKENS[0]}"}

    response = client.post(path, data=body, headers=headers, environ_base={"REMOTE_ADDR": "127.0.0.2"})
    assert problem(response) == (413, "body_too_large")
    assert sent == []


def test_webhook_bulkhead_is_separate_from_services(client, sent):
    with ExitStack() as waiting:
        for _ in range(2):
            waiting.enter_context(rpc.bulkheads.slot("webhooks"))

        assert problem(client.post(STRIPE, data=b"{}", headers=stripe_headers(b"{}"))) == (503, "service_overloaded")
        with rpc.bulkheads.slot("payments"):
            pass  # requests of buyers still get a slot
    assert client.post(STRIPE, data=b"{}", headers=stripe_headers(b"{}")).status_code == 200
