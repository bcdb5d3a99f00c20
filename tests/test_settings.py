"""The settings reject published secrets with real servers, and incomplete or unsafe production settings."""

import subprocess
import sys

import pytest

import settings

pytestmark = pytest.mark.unit

LONG = "x" * 32
SERVERS = {
    "DATABASE_URL": "postgresql+psycopg2://coursebus:pw@db.example/coursebus?sslmode=verify-full",
    "REDIS_URL": "rediss://:pw@queue.example/0",
    "CACHE_URL": "rediss://:pw@cache.example/0",
    "MONGO_URL": "mongodb+srv://coursebus:pw@mongo.example/coursebus",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
    "SMTP_URL": "smtps://relay:pw@mail.example:465",
}
STRIPE = {"STRIPE_SECRET_KEY": "sk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}
YOOKASSA = {"YOOKASSA_SHOP_ID": "1", "YOOKASSA_SECRET_KEY": "live_1"}
PRODUCTION = {
    "ENVIRONMENT": "production",
    "AUTH0_DOMAIN": "tenant.eu.auth0.com",
    "SECRET_KEY": LONG,
    "PUBLIC_URL": "https://api.example.com",
    "STREAM_URL": "https://stream.example.com",
    **SERVERS,
}


def check_settings(environ: dict[str, str]) -> list[str]:
    """Run ``python -m settings`` in this environment; return the lines of its standard error."""
    command = [sys.executable, "-m", "settings"]
    completed = subprocess.run(command, cwd=settings.ROOT, env=environ, capture_output=True, text=True, check=False)
    lines = completed.stderr.splitlines()
    assert bool(lines) == bool(completed.returncode), completed.stderr
    return lines


@pytest.mark.parametrize("providers", [STRIPE, YOOKASSA, STRIPE | YOOKASSA], ids=["stripe", "yookassa", "both"])
def test_production_starts_with_one_payment_provider(providers):
    assert check_settings(PRODUCTION | providers) == []


def test_local_stack_needs_no_settings():
    assert check_settings({}) == []
    assert check_settings({"ENVIRONMENT": " "}) == []


@pytest.mark.parametrize("word", ["prod", "Production", "staging", "PRODUCTION"])
def test_unknown_environment_is_rejected(word):
    assert check_settings(PRODUCTION | STRIPE | {"ENVIRONMENT": word}) == [
        f'ENVIRONMENT must be "local" or "production", not {word!r}'
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"SECRET_KEY": "local"}, "SECRET_KEY"),
        ({"SECRET_KEY": "x" * 31}, "SECRET_KEY"),
        ({"STRIPE_WEBHOOK_SECRET": ""}, "STRIPE_WEBHOOK_SECRET"),
        ({"STRIPE_WEBHOOK_SECRET": "whsec_1, whsec_local"}, "STRIPE_WEBHOOK_SECRET"),
        ({"STRIPE_SECRET_KEY": "sk_test_1"}, "STRIPE_SECRET_KEY"),
        ({"STRIPE_API_URL": "http://127.0.0.1:8020"}, "STRIPE_API_URL"),
        ({"STRIPE_SECRET_KEY": ""}, "STRIPE_SECRET_KEY"),
        ({"YOOKASSA_SHOP_ID": "1"}, "YOOKASSA_SECRET_KEY"),
        ({"AUTH0_DOMAIN": ""}, "AUTH0_DOMAIN"),
        ({"AUTH0_WEBHOOK_TOKEN": "auth0-hook-local"}, "AUTH0_WEBHOOK_TOKEN"),
        ({"AUTH0_WEBHOOK_TOKEN": "short"}, "AUTH0_WEBHOOK_TOKEN"),
        ({"AUTH0_CLIENT_ID": "c", "AUTH0_CLIENT_SECRET": "coursebus-m2m-local"}, "AUTH0_CLIENT_SECRET"),
        ({"EMAIL_WEBHOOK_SECRET": "whsec_bG9jYWwgbWFpbCByZXBvcnRz"}, "EMAIL_WEBHOOK_SECRET"),
        ({"PUBLIC_URL": "http://api.example.com", "RETURN_URL_ORIGINS": "https://a.example"}, "PUBLIC_URL"),
        ({"STREAM_URL": "http://stream.example.com"}, "STREAM_URL"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        ({"RETURN_URL_ORIGINS": "*"}, "RETURN_URL_ORIGINS"),
        ({"RATE_LIMITS": "off"}, "RATE_LIMITS"),
        ({"WEBHOOK_ALLOW_LOOPBACK": "on"}, "WEBHOOK_ALLOW_LOOPBACK"),
        ({"FAULT_INJECTION": "x"}, "FAULT_INJECTION"),
        ({"TEST_CLOCK_URL": "x"}, "TEST_CLOCK_URL"),
        *(({name: ""}, name) for name in SERVERS),
        ({"REDIS_URL": "redis://queue.example/0"}, "REDIS_URL"),
        ({"CACHE_URL": "rediss://cache.example/0"}, "CACHE_URL"),
        ({"DATABASE_URL": "postgresql+psycopg2://coursebus:pw@db.example/coursebus"}, "DATABASE_URL"),
        ({"MONGO_URL": "mongodb://mongo.example/coursebus?tls=true"}, "MONGO_URL"),
        ({"SMTP_URL": "smtp+insecure://mail.example"}, "SMTP_URL"),
        ({"SMTP_URL": "smtp+insecure://u:pw@mail.example", "ALLOW_PLAINTEXT_SERVERS": "on"}, "SMTP_URL"),
    ],
    ids=str,
)
def test_production_rejects_unsafe_setting(changes, named):
    lines = check_settings(PRODUCTION | STRIPE | changes)

    assert lines
    assert all(line.startswith(f"{named} ") for line in lines)


def test_all_errors_are_reported_together():
    assert len(check_settings({"ENVIRONMENT": "production"})) > 8


def test_explicit_exceptions_are_allowed():
    plain = {"REDIS_URL": "redis://queue/0", "SMTP_URL": "smtp+insecure://mail", "ALLOW_PLAINTEXT_SERVERS": "on"}
    trial = {"STRIPE_SECRET_KEY": "sk_test_1", "PAYMENT_TEST_KEYS": "on"}

    assert check_settings(PRODUCTION | STRIPE | plain | trial) == []


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"AUTH0_DOMAIN": "tenant.eu.auth0.com"}, ["SECRET_KEY"]),
        (STRIPE | {"STRIPE_WEBHOOK_SECRET": "whsec_local"}, ["STRIPE_WEBHOOK_SECRET"]),
        ({"YOOKASSA_SHOP_ID": "1"}, ["YOOKASSA_SECRET_KEY"]),
    ],
)
def test_published_secret_is_rejected_with_real_server(environ, named):
    assert [line.split()[0] for line in check_settings(environ)] == named


@pytest.mark.parametrize("secret", ["whsec_no base64!", "whsec_abc", "whsec_", "plain-secret", "whsec_Zm9v,whsec_abc"])
def test_non_base64_webhook_secret_is_rejected_at_startup(secret):
    lines = check_settings({"SMTP_URL": "smtps://mail.example", "EMAIL_WEBHOOK_SECRET": secret})

    assert lines == [
        "EMAIL_WEBHOOK_SECRET must be base64 after whsec_, as the provider shows it: no webhook would be accepted"
    ]


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        ("STRIPE_WEBHOOK_SECRETS", {"STRIPE_SECRET_KEY": "sk_live_1"}),
        ("AUTH0_WEBHOOK_TOKENS", {"AUTH0_DOMAIN": "tenant.eu.auth0.com"}),
        ("EMAIL_WEBHOOK_SECRETS", {"SMTP_URL": "smtps://mail.example"}),
    ],
)
def test_real_server_without_a_secret_trusts_no_webhook(name, environ):
    code = f"import settings; print(settings.{name})"
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.ROOT, env=environ, capture_output=True, check=True
    )

    assert completed.stdout == b"()\n"
