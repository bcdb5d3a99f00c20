"""What the settings refuse: published secrets with real servers, and a production that is none."""

import subprocess
import sys

import pytest

import settings

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


def checked(environ: dict[str, str]) -> list[str]:
    """The lines that ``python -m settings`` ends with in this environment."""
    command = [sys.executable, "-m", "settings"]
    done = subprocess.run(command, cwd=settings.ROOT, env=environ, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert bool(lines) == bool(done.returncode), done.stderr
    return lines


@pytest.mark.parametrize("providers", [STRIPE, YOOKASSA, STRIPE | YOOKASSA], ids=["stripe", "yookassa", "both"])
def test_production_starts_with_one_payment_provider(providers):
    assert checked(PRODUCTION | providers) == []


def test_nothing_has_to_be_set_for_the_local_stack():
    assert checked({}) == []
    assert checked({"ENVIRONMENT": " "}) == []


@pytest.mark.parametrize("word", ["prod", "Production", "staging", "PRODUCTION"])
def test_environment_is_one_of_two_words(word):
    assert checked(PRODUCTION | STRIPE | {"ENVIRONMENT": word}) == [
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
        ({"WEBHOOK_LOOPBACK": "allow"}, "WEBHOOK_LOOPBACK"),
        ({"FAULT": "x"}, "FAULT"),
        ({"CLOCK": "x"}, "CLOCK"),
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
def test_production_refuses(changes, named):
    lines = checked(PRODUCTION | STRIPE | changes)

    assert lines
    assert all(line.startswith(f"{named} ") for line in lines)


def test_all_faults_are_named_at_once():
    assert len(checked({"ENVIRONMENT": "production"})) > 8


def test_what_may_be_allowed_is_allowed():
    plain = {"REDIS_URL": "redis://queue/0", "SMTP_URL": "smtp+insecure://mail", "ALLOW_PLAINTEXT_SERVERS": "on"}
    trial = {"STRIPE_SECRET_KEY": "sk_test_1", "PAYMENT_TEST_KEYS": "on"}

    assert checked(PRODUCTION | STRIPE | plain | trial) == []


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"AUTH0_DOMAIN": "tenant.eu.auth0.com"}, ["SECRET_KEY"]),
        (STRIPE | {"STRIPE_WEBHOOK_SECRET": "whsec_local"}, ["STRIPE_WEBHOOK_SECRET"]),
        ({"YOOKASSA_SHOP_ID": "1"}, ["YOOKASSA_SECRET_KEY"]),
    ],
)
def test_published_secret_is_refused_with_a_real_server_everywhere(environ, named):
    assert [line.split()[0] for line in checked(environ)] == named


@pytest.mark.parametrize("secret", ["whsec_no base64!", "whsec_abc", "whsec_", "plain-secret", "whsec_Zm9v,whsec_abc"])
def test_webhook_secret_that_is_not_base64_is_refused_at_the_start(secret):
    lines = checked({"SMTP_URL": "smtps://mail.example", "EMAIL_WEBHOOK_SECRET": secret})

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
    done = subprocess.run([sys.executable, "-c", code], cwd=settings.ROOT, env=environ, capture_output=True, check=True)

    assert done.stdout == b"()\n"
