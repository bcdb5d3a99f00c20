"""The settings reject published secrets with real servers, and incomplete or unsafe production settings."""

import subprocess
import sys

import pytest
from sqlalchemy import make_url

import settings
from core.db import network_options
from core.environment import normalize_database_url
from settings.checks import USED_SETTINGS

LONG = "x" * 32
SERVERS = {
    "DATABASE_URL": "postgresql+psycopg2://coursebus:pw@db.example/coursebus?sslmode=verify-full",
    "REDIS_URL": "rediss://:pw@queue.example/0",
    "CACHE_URL": "rediss://:pw@cache.example/0",
    "MONGO_URL": "mongodb+srv://coursebus:pw@mongo.example/coursebus",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_USERNAME": "coursebus",
    "KAFKA_PASSWORD": "pw",
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


def explain_settings(environ: dict[str, str], *process: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m settings`` in this environment."""
    command = [sys.executable, "-m", "settings", *process]
    return subprocess.run(command, cwd=settings.ROOT, env=environ, capture_output=True, text=True, check=False)


def check_settings(environ: dict[str, str], *process: str) -> list[str]:
    """Return the problems that ``python -m settings`` reports in this environment."""
    completed = explain_settings(environ, *process)
    lines = completed.stderr.splitlines()
    assert bool(lines) == bool(completed.returncode), completed.stderr
    return lines


@pytest.mark.parametrize("providers", [STRIPE, YOOKASSA, STRIPE | YOOKASSA], ids=["stripe", "yookassa", "both"])
def test_production_starts_with_one_payment_provider(providers):
    assert check_settings(PRODUCTION | providers) == []


def test_production_starts_with_another_issuer_than_auth0():
    issuer = {"AUTH0_DOMAIN": "", "OIDC_ISSUER": "https://login.example.com/realms/school"}

    assert check_settings(PRODUCTION | STRIPE | issuer) == []


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
        ({"OIDC_ISSUER": "http://login.example.com/"}, "OIDC_ISSUER"),
        ({"OIDC_JWKS_URL": "http://login.example.com/keys"}, "OIDC_JWKS_URL"),
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
        *(({name: ""}, name) for name in SERVERS if name.endswith(("_URL", "_SERVERS"))),
        ({"KAFKA_USERNAME": ""}, "KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_PASSWORD": ""}, "KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_SECURITY_PROTOCOL": "", "KAFKA_PASSWORD": "", "KAFKA_USERNAME": ""}, "KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_CA_FILE": "/nowhere/ca.pem"}, "KAFKA_CA_FILE"),
        ({"PAYMENTS_DATABASE_URL": "postgresql://coursebus@db.example/payments"}, "PAYMENTS_DATABASE_URL"),
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
    plain |= {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
    trial = {"STRIPE_SECRET_KEY": "sk_test_1", "PAYMENT_TEST_KEYS": "on"}

    assert check_settings(PRODUCTION | STRIPE | plain | trial) == []


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"AUTH0_DOMAIN": "tenant.eu.auth0.com"}, ["SECRET_KEY"]),
        ({"OIDC_ISSUER": "https://login.example.com/"}, ["SECRET_KEY"]),
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


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
@pytest.mark.parametrize("name", ["DATABASE_URL", "COURSES_DATABASE_URL"])
def test_every_postgresql_scheme_uses_the_installed_driver(scheme, name):
    code = "import settings; print(settings.database_url('courses'))"
    environ = {name: f"{scheme}://shop:pw@db.example/shop"}
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.ROOT, env=environ, capture_output=True, text=True, check=True
    )

    assert completed.stdout == "postgresql+psycopg2://shop:pw@db.example/shop\n"


def test_several_hosts_of_a_database_are_understood():
    url = normalize_database_url("postgres://shop:p%40w@a.example:5432,b.example:5433/shop?sslmode=verify-full")

    options = network_options(url)
    [], arguments = make_url(url).get_dialect()().create_connect_args(make_url(url))
    assert (arguments["host"], arguments["port"]) == ("a.example,b.example", "5432,5433")
    assert (arguments["user"], arguments["password"], arguments["dbname"]) == ("shop", "p@w", "shop")
    assert options["target_session_attrs"] == "read-write"
    assert options["tcp_user_timeout"] == 20_000


def test_options_of_the_url_are_kept():
    assert "connect_timeout" not in network_options("postgresql+psycopg2://shop@db.example/shop?connect_timeout=30")
    assert "target_session_attrs" not in network_options("postgresql+psycopg2://shop@db.example/shop")


def test_transaction_pooling_needs_the_server_behind_the_pooler():
    pooled = PRODUCTION | STRIPE | {"DATABASE_POOLING": "transaction"}
    direct = {"DIRECT_DATABASE_URL": SERVERS["DATABASE_URL"].replace("db.", "direct.")}

    assert check_settings(pooled, "bridge") == ["DIRECT_DATABASE_URL must name the server behind the pooler"]
    assert check_settings(pooled, "worker-courses") == []
    assert check_settings(pooled | direct) == []


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"DATABASE_URL": "mysql://shop:pw@db.example/shop"}, "DATABASE_URL must begin with postgresql://, not mysql:"),
        (
            {"REDIS_URL": "sentinel://queue.example/0"},
            "REDIS_URL must begin with redis://, rediss:// or rediss+sentinel",
        ),
        (
            {"CACHE_URL": "cache.example:6379"},
            "CACHE_URL must begin with redis://, rediss:// or rediss+sentinel://, not",
        ),
        (
            {"REDIS_URL": "redis+cluster://queue.example"},
            "REDIS_URL cannot be a Cluster: the queues and the scripts use",
        ),
        ({"REDIS_URL": "redis+sentinel://a:26379/0"}, "REDIS_URL must name the master that the Sentinels watch"),
        ({"LOG_READS": "maybe"}, "LOG_READS must be on or off, not 'maybe'"),
        ({"WORKER_THREADS": "1"}, "WORKER_THREADS must be at least 2"),
        ({"PORT_BASE": "8k"}, "PORT_BASE must be a whole number, not '8k'"),
        ({"WEBHOOK_RETRY_DELAYS_SECONDS": "5,x"}, "WEBHOOK_RETRY_DELAYS_SECONDS must be whole numbers"),
        ({"KAFKA_OPTIONS": '{"acks": 1}'}, "KAFKA_OPTIONS must be a JSON object whose values are texts"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SECURITY_PROTOCOL must be SASL_… with"),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM must be"),
        ({"SECRET_KEY_FILE": "/nowhere/key"}, "SECRET_KEY_FILE cannot be read"),
        ({"SECRET_KEY": "a", "SECRET_KEY_FILE": "/nowhere/key"}, "SECRET_KEY and SECRET_KEY_FILE are both set"),
    ],
)
def test_invalid_value_is_reported_and_stops_every_process(environ, message):
    started = subprocess.run(
        [sys.executable, "-c", "import settings"],
        cwd=settings.ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert started.returncode == 1
    assert started.stderr.startswith(message)
    assert check_settings(environ)[0].startswith(message)


def test_invalid_and_unsafe_values_are_reported_together():
    lines = check_settings(PRODUCTION | STRIPE | {"PORT_BASE": "x", "LOG_LEVEL": "loud", "RATE_LIMITS": "off"})

    assert [line.split()[0] for line in lines] == ["PORT_BASE", "LOG_LEVEL", "RATE_LIMITS"]


def test_collector_without_tls_is_refused_in_production():
    collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "TRACES_SAMPLED_PERCENT": "200"}

    lines = check_settings(PRODUCTION | STRIPE | collector)

    assert [line.split()[0] for line in lines] == ["TRACES_SAMPLED_PERCENT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert check_settings(PRODUCTION | STRIPE | {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4318"}) == []


def test_every_secret_can_be_read_from_a_file(tmp_path):
    (tmp_path / "key").write_text(f"{LONG}\n")
    (tmp_path / "database").write_text(SERVERS["DATABASE_URL"])
    from_files = {"SECRET_KEY_FILE": str(tmp_path / "key"), "DATABASE_URL_FILE": str(tmp_path / "database")}
    environ = {name: value for name, value in PRODUCTION.items() if f"{name}_FILE" not in from_files}

    assert check_settings(environ | STRIPE | from_files) == []
    assert f"file {tmp_path / 'key'}" in explain_settings(from_files).stdout


def test_published_badge_key_is_rejected_in_production_and_two_keys_are_accepted(tmp_path):
    new = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True, text=True).stdout.strip()
    for name, keys in (("both", f"{new},{settings.LOCAL_BADGE_KEY}"), ("own", f"{new},{new}"), ("none", "secret")):
        (tmp_path / name).write_text(keys)
    found = {
        name: [
            line.split()[0]
            for line in check_settings(PRODUCTION | STRIPE | {"BADGE_SIGNING_KEY_FILE": str(tmp_path / name)})
        ]
        for name in ("both", "own", "none")
    }

    assert found == {"both": ["BADGE_SIGNING_KEY"], "own": [], "none": ["BADGE_SIGNING_KEY"]}


@pytest.mark.parametrize(
    ("command", "is_accepted"),
    [
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", True),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", True),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384", False),
        ("genpkey -algorithm ed25519", False),
        ("genrsa -aes128 -passout pass:secret 2048", False),
        ("", False),
    ],
)
def test_badge_key_is_one_that_signs(tmp_path, command: str, *, is_accepted: bool):
    key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"
    if command:
        key = subprocess.run(["openssl", *command.split()], check=True, capture_output=True, text=True).stdout
    (tmp_path / "key").write_text(key)

    found = check_settings(PRODUCTION | STRIPE | {"BADGE_SIGNING_KEY_FILE": str(tmp_path / "key")})

    assert [line.split()[0] for line in found] == ([] if is_accepted else ["BADGE_SIGNING_KEY"])


def test_empty_secret_file_counts_as_not_set(tmp_path):
    (tmp_path / "key").write_text("\n")
    environ = {name: value for name, value in (PRODUCTION | STRIPE).items() if name != "SECRET_KEY"}

    found = check_settings(environ | {"SECRET_KEY_FILE": str(tmp_path / "key")})

    assert {line.split()[0] for line in found} == {"SECRET_KEY"}


def test_explanation_shows_value_and_source_and_masks_secrets():
    secret = "s3cr3t"
    names = [name for name in settings.read.settings if name.endswith(("SECRET", "TOKEN", "PASSWORD", "_KEY", "_AUTH"))]
    urls = {
        "DATABASE_URL": f"postgresql://shop@db.example/shop?password={secret}&sslmode=require",
        "REDIS_URL": f"redis://:{secret}@queue.example/0",
        "MONGO_URL": f"mongodb://shop:{secret}@a.example:27017,b.example:27017/shop",
        "SMTP_URL": f"smtps://shop:{secret}@mail.example",
    }
    completed = explain_settings(dict.fromkeys(names, f"whsec_{secret}") | urls | {"PORT_BASE": "9000"})

    assert len(names) >= 9
    assert secret not in completed.stdout + completed.stderr
    assert "redis://:********@queue.example/0" in completed.stdout
    shown = {line.split()[0]: line.split()[1:] for line in completed.stdout.splitlines() if line.startswith("  ")}
    assert shown["PORT_BASE"] == ["9000", "environment"]
    assert shown["KAFKA_BOOTSTRAP_SERVERS"] == ["127.0.0.1:9092", "default"]
    assert set(names) <= set(shown)


def test_process_is_not_asked_for_settings_of_others():
    needed = USED_SETTINGS["gateway"] | {"ENVIRONMENT"}
    environ = {name: value for name, value in (PRODUCTION | STRIPE).items() if name in needed}

    assert check_settings(environ, "gateway") == []
    assert "DATABASE_URL" in {line.split()[0] for line in check_settings(environ, "bridge")}
    assert "STRIPE_SECRET_KEY" in {line.split()[0] for line in check_settings(environ)}


@pytest.mark.parametrize("login", ["", "ops", "ops:", "ops:pw,other:"])
def test_flower_does_not_start_without_a_password(login):
    completed = subprocess.run(
        [sys.executable, "-c", "import ops.flower"],
        cwd=settings.ROOT,
        env={"FLOWER_BASIC_AUTH": login},
        capture_output=True,
        text=True,
        check=False,
    )

    assert completed.returncode == 1
    assert completed.stderr.startswith("FLOWER_BASIC_AUTH must be user:password, and the password must not be empty")


def test_check_prints_problems_only():
    completed = explain_settings({"ENVIRONMENT": "production"}, "check", "gateway")

    assert completed.returncode == 1
    assert completed.stdout == f"Problems: {len(completed.stderr.splitlines())}\n"
    assert "SECRET_KEY must have" in completed.stderr
    assert explain_settings({}, "check").stdout == "Problems: 0\n"


def test_unknown_process_is_a_usage_error():
    completed = explain_settings({}, "gatway")

    assert completed.returncode == 2
    assert completed.stderr.startswith("usage: python -m settings [check] [gateway|")
