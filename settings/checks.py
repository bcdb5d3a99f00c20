"""Check the settings of a process before it starts.

Published default secrets are refused for real servers everywhere. In production every unsafe setting stops the start.
"""

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import settings
from settings import read

# The settings that each process uses besides those of _EVERY_PROCESS. Only these are checked when it starts, so that
# no process has to be given a secret of another. ops/compose.yml gives each container the secrets of its row.
_EVERY_PROCESS = {"ENVIRONMENT", "FAULT_INJECTION", "TEST_CLOCK_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"}
_SIGN_IN = {"AUTH0_DOMAIN", "OIDC_ISSUER", "OIDC_JWKS_URL"}
_HTTP = {"REDIS_URL", "CACHE_URL", "PUBLIC_URL", "STREAM_URL", "CORS_ORIGINS", "RATE_LIMITS", *_SIGN_IN}
_WORKER = {"REDIS_URL", "DATABASE_URL", "CACHE_URL"}
USED_SETTINGS: dict[str, set[str]] = {
    "gateway": {
        *(*_HTTP, "WEB_URL", "SECRET_KEY"),
        *("AUTH0_WEBHOOK_TOKEN", "STRIPE_WEBHOOK_SECRET", "EMAIL_WEBHOOK_SECRET", "BADGE_SIGNING_KEY"),
    },
    "stream": {*_HTTP, "MONGO_URL"},
    # Without REDIS_URL: a client of the queues may execute every command.
    "web": {
        "CACHE_URL",
        "WEB_URL",
        "API_URL",
        "STREAM_URL",
        "STORAGE_PUBLIC_URL",
        "WEB_CLIENT_ID",
        "WEB_CLIENT_SECRET",
        *_SIGN_IN,
    },
    "worker-courses": {
        *(*_WORKER, "PUBLIC_URL", "STORAGE_URL", "STORAGE_PUBLIC_URL", "STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY"),
    },
    "worker-integrations": {*_WORKER, "WEBHOOK_ALLOW_LOOPBACK"},
    "worker-notifications": {
        *(*_WORKER, "MONGO_URL", "SMTP_URL", "SECRET_KEY", "PUBLIC_URL", "WEB_URL"),
        *("EMAIL_WEBHOOK_SECRET", "VAPID_PRIVATE_KEY", "FIREBASE_CREDENTIALS"),
    },
    "worker-payments": {
        *(*_WORKER, "STRIPE_SECRET_KEY", "STRIPE_API_URL", "STRIPE_WEBHOOK_SECRET", "PUBLIC_URL", "WEB_URL"),
        *("YOOKASSA_SHOP_ID", "YOOKASSA_SECRET_KEY", "YOOKASSA_API_URL", "RETURN_URL_ORIGINS"),
    },
    "worker-progress": _WORKER,
    "worker-users": {*_WORKER, "AUTH0_DOMAIN", "OIDC_ISSUER", "AUTH0_CLIENT_SECRET", "AUTH0_WEBHOOK_TOKEN"},
    "bridge": {
        "REDIS_URL",
        "DATABASE_URL",
        "DIRECT_DATABASE_URL",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_PASSWORD",
        "KAFKA_OPTIONS",
        "KAFKA_SECURITY_PROTOCOL",
    },
    "beat": {"REDIS_URL"},
    "flower": {"REDIS_URL", "FLOWER_BASIC_AUTH"},
}

_SECRET_BYTES_MIN = 32
_Checks = Iterator[tuple[bool, str]]


def validate_production_settings(process: str | None = None) -> None:
    """Raise SystemExit with all faults if settings of ``process``, by default any setting, are unsafe."""
    if found := find_unsafe_settings(process):
        raise SystemExit("\n".join(found))


def find_unsafe_settings(process: str | None = None) -> list[str]:
    """Return the faults of the settings that ``process`` uses, by default of all. Each begins with its setting."""
    checks = [*_default_secret_checks()]
    if settings.PRODUCTION:
        checks += [*_production_checks(), *_provider_checks(), *_server_checks(), *_kafka_checks()]
    found = dict.fromkeys(reason for is_unsafe, reason in checks if is_unsafe)
    if process is None:
        return list(found)
    own = process.removeprefix("worker-")
    databases = {_own_database(each) for each in settings.SERVICES if process == "bridge" or each == own}
    if process == "bridge":
        databases |= {f"{service.upper()}_DIRECT_DATABASE_URL" for service in settings.SERVICES}
    used = USED_SETTINGS[process] | _EVERY_PROCESS | databases
    return [reason for reason in found if reason.split()[0] in used]


def _default_secret_checks() -> _Checks:
    """Refuse the local stack's secrets for real servers: they are published in this repository."""
    has_issuer = read.is_set("AUTH0_DOMAIN") or read.is_set("OIDC_ISSUER")
    for name, value, published, is_real in (
        ("SECRET_KEY", settings.SECRET_KEY, "local", has_issuer),
        ("AUTH0_CLIENT_SECRET", settings.AUTH0_CLIENT_SECRET, "coursebus-m2m-local", read.is_set("AUTH0_DOMAIN")),
        ("WEB_CLIENT_SECRET", settings.WEB_CLIENT_SECRET, "coursebus-web-local", has_issuer),
        ("AUTH0_WEBHOOK_TOKEN", settings.AUTH0_WEBHOOK_TOKENS, "auth0-hook-local", has_issuer),
        ("EMAIL_WEBHOOK_SECRET", settings.EMAIL_WEBHOOK_SECRETS, settings.LOCAL_MAIL_SECRET, read.is_set("SMTP_URL")),
        ("STRIPE_WEBHOOK_SECRET", settings.STRIPE_WEBHOOK_SECRETS, "whsec_local", read.is_set("STRIPE_SECRET_KEY")),
        ("YOOKASSA_SECRET_KEY", settings.YOOKASSA_SECRET_KEY, "test_local", read.is_set("YOOKASSA_SHOP_ID")),
        ("BADGE_SIGNING_KEY", settings.BADGE_SIGNING_KEYS, settings.LOCAL_BADGE_KEY, False),
        ("STORAGE_SECRET_KEY", settings.STORAGE_SECRET_KEY, "coursebus-local", read.is_set("STORAGE_URL")),
        ("VAPID_PRIVATE_KEY", settings.VAPID_PRIVATE_KEY, settings.LOCAL_VAPID_KEY, False),
    ):
        given = value if isinstance(value, tuple) else (value,)
        yield (
            published in given and (is_real or (settings.PRODUCTION and read.is_set(name))),
            f"{name} must not be the published default, which is no secret",
        )


def _production_checks() -> _Checks:
    yield bool(settings.FAULT_INJECTION), "FAULT_INJECTION kills processes, and must not be set in production"
    yield bool(settings.TEST_CLOCK_URL), "TEST_CLOCK_URL moves the time, and must not be set in production"
    has_issuer = read.is_set("AUTH0_DOMAIN") or read.is_set("OIDC_ISSUER")
    yield not has_issuer, "AUTH0_DOMAIN or OIDC_ISSUER must be set in production"
    for name, url in (("OIDC_ISSUER", settings.OIDC_ISSUER), ("OIDC_JWKS_URL", settings.OIDC_JWKS_URL)):
        is_plain = read.is_set(name) and urlsplit(url).scheme != "https"
        yield is_plain, f"{name} must begin with https:// in production"
    secrets = {"SECRET_KEY": (settings.SECRET_KEY,), "AUTH0_WEBHOOK_TOKEN": settings.AUTH0_WEBHOOK_TOKENS}
    for name, given in secrets.items():
        is_short = any(len(secret.encode()) < _SECRET_BYTES_MIN for secret in given)
        yield is_short, f"{name} must have at least {_SECRET_BYTES_MIN} bytes in production: openssl rand -hex 32"
    for name, url in (("PUBLIC_URL", settings.PUBLIC_URL), ("STREAM_URL", settings.STREAM_URL)):
        yield urlsplit(url).scheme != "https", f"{name} must begin with https:// in production"
    if settings.WEB_URL:
        yield urlsplit(settings.WEB_URL).scheme != "https", "WEB_URL must begin with https:// in production"
        is_complete = settings.WEB_CLIENT_ID and settings.WEB_CLIENT_SECRET
        yield not is_complete, "WEB_CLIENT_ID and WEB_CLIENT_SECRET must be set in production with WEB_URL"
    if settings.STORAGE_URL:
        yield not settings.STORAGE_SECRET_KEY, "STORAGE_SECRET_KEY must be set in production with STORAGE_URL"
        is_open = urlsplit(settings.STORAGE_PUBLIC_URL).scheme != "https"
        yield is_open, "STORAGE_PUBLIC_URL must begin with https:// in production"
    yield settings.WEBHOOK_ALLOW_LOOPBACK, "WEBHOOK_ALLOW_LOOPBACK must not be on in production"
    yield not settings.RATE_LIMITS, "RATE_LIMITS must not be off in production"
    yield "*" in settings.RETURN_URL_ORIGINS, "RETURN_URL_ORIGINS must name the origins in production"
    yield "*" in settings.CORS_ORIGINS, "CORS_ORIGINS must name the origins in production"


def _provider_checks() -> _Checks:
    providers = settings.PAYMENT_PROVIDERS
    yield not providers, "STRIPE_SECRET_KEY or YOOKASSA_SHOP_ID must be set in production: one is enough"
    if "stripe" in providers:
        is_other_host = urlsplit(settings.STRIPE_API_URL).hostname != "api.stripe.com"
        yield is_other_host, "STRIPE_API_URL must be Stripe's own host in production"
        yield not settings.STRIPE_WEBHOOK_SECRETS, "STRIPE_WEBHOOK_SECRET must be set in production"
        yield _is_test_key(settings.STRIPE_SECRET_KEY), _TEST_KEY.format("STRIPE_SECRET_KEY")
    if "yookassa" in providers:
        is_other_host = urlsplit(settings.YOOKASSA_API_URL).hostname != "api.yookassa.ru"
        yield is_other_host, "YOOKASSA_API_URL must be YooKassa's own host in production"
        yield not read.is_set("YOOKASSA_SECRET_KEY"), "YOOKASSA_SECRET_KEY must be set in production"
        yield _is_test_key(settings.YOOKASSA_SECRET_KEY), _TEST_KEY.format("YOOKASSA_SECRET_KEY")


_TEST_KEY = "{} is a test key, with which no buyer is charged: PAYMENT_TEST_KEYS=on allows it in production"


def _is_test_key(key: str) -> bool:
    return not settings.PAYMENT_TEST_KEYS and key.startswith(("sk_test_", "rk_test_", "test_"))


_SERVER_MISSING = "{} must be set in production: its default is the server of the local stack"
_SERVER_OPEN = "{} has no password or no TLS: ALLOW_PLAINTEXT_SERVERS=on allows it in production"


def _server_checks() -> _Checks:
    is_strict = not settings.ALLOW_PLAINTEXT_SERVERS
    urls = {"DATABASE_URL": settings.DATABASE_URL, "REDIS_URL": settings.REDIS_URL, "CACHE_URL": settings.CACHE_URL}
    urls["MONGO_URL"] = settings.MONGO_URL
    for name in urls:
        yield not read.is_set(name), _SERVER_MISSING.format(name)
    urls |= {_own_database(service): settings.database_url(service) for service in settings.SERVICES}
    urls["DIRECT_DATABASE_URL"] = settings.DIRECT_DATABASE_URL
    for name, url in urls.items():
        yield is_strict and read.is_set(name) and not _is_encrypted_and_authenticated(url), _SERVER_OPEN.format(name)
    if settings.DATABASE_POOLING == "transaction":
        for service in settings.SERVICES:
            prefix = f"{service.upper()}_" if read.is_set(_own_database(service)) else ""
            is_pooler = settings.direct_database_url(service) == settings.database_url(service)
            yield is_pooler, f"{prefix}DIRECT_DATABASE_URL must name the server behind the pooler"
    is_open = urlsplit(settings.OTEL_EXPORTER_OTLP_ENDPOINT).scheme not in {"", "https"}
    reason = "OTEL_EXPORTER_OTLP_ENDPOINT uses no TLS: ALLOW_PLAINTEXT_SERVERS=on allows it in production"
    yield is_strict and is_open, reason
    yield not read.is_set("SMTP_URL"), _SERVER_MISSING.format("SMTP_URL")
    smtp = urlsplit(settings.SMTP_URL)
    if smtp.scheme == "smtp+insecure":
        has_password = smtp.username is not None
        yield has_password, "SMTP_URL must not send a password without TLS in production"
        is_open = not has_password and is_strict
        yield is_open, "SMTP_URL uses no TLS: ALLOW_PLAINTEXT_SERVERS=on allows it in production"


def _kafka_checks() -> _Checks:
    yield not read.is_set("KAFKA_BOOTSTRAP_SERVERS"), _SERVER_MISSING.format("KAFKA_BOOTSTRAP_SERVERS")
    is_open = settings.KAFKA_SECURITY_PROTOCOL != "SASL_SSL" and not settings.ALLOW_PLAINTEXT_SERVERS
    yield is_open, "KAFKA_SECURITY_PROTOCOL must be SASL_SSL: ALLOW_PLAINTEXT_SERVERS=on allows others in production"


def _own_database(service: str) -> str:
    return f"{service.upper()}_DATABASE_URL"


def _is_encrypted_and_authenticated(url: str) -> bool:
    """Return whether ``url`` has TLS, and a password or a client certificate."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    tls = (
        parts.scheme in {"rediss", "rediss+sentinel", "mongodb+srv"}
        or query.get("sslmode") in {"require", "verify-ca", "verify-full"}
        or "true" in {query.get("tls"), query.get("ssl")}
    )
    certificate = {"sslcert", "ssl_certfile", "tlsCertificateKeyFile"} & set(query)
    return tls and bool(parts.password or query.get("password") or certificate)
