"""Every environment variable that Coursebus reads, typed, with the unit in its name.

The default of a server's URL is the server of the local stack, whose ports are relative to ``PORT_BASE`` (ops/dev).
The environment is read once at import and is the only configuration of a process.
"""

import os
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

ROOT = Path(__file__).parent


def _text(name: str, default: str) -> str:
    # Treat an empty variable as not set, as compose files and shells do.
    return os.environ.get(name, "").strip() or default


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name, "").strip())


def _list(name: str, default: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in _text(name, default).split(",") if each.strip())


def _number(name: str, default: int) -> int:
    text = _text(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise SystemExit(f"{name} must be a whole number, not {text!r}") from None


def _secrets(name: str, default: str) -> tuple[str, ...]:
    """Return one secret, or several, comma separated, during a rotation. Raises SystemExit for an empty one."""
    secrets = tuple(secret.strip() for secret in _text(name, default).split(","))
    if not all(secrets):
        raise SystemExit(f"{name} contains an empty secret")
    return secrets


def _standard_secrets(name: str, default: str) -> tuple[str, ...]:
    """Like ``_secrets``, for Standard Webhooks: base64 after ``whsec_``."""
    secrets = _secrets(name, default)
    for secret in secrets:
        try:
            key = b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if not key:
            raise SystemExit(
                f"{name} must be base64 after whsec_, as the provider shows it: no webhook would be accepted"
            )
    return secrets


def _local(port: int) -> str:
    return f"127.0.0.1:{PORT_BASE + port}"


def _is_on(name: str) -> bool:
    return _text(name, "off") != "off"


# Each is a module or package of workers/, a queue, a topic and a schema.
SERVICES = ("courses", "integrations", "notifications", "payments", "progress", "users")
SERVICE = _text("SERVICE", "shared")  # the service whose queue this worker serves
ENVIRONMENT = _text("ENVIRONMENT", "local")
if ENVIRONMENT not in {"local", "production"}:
    raise SystemExit(f'ENVIRONMENT must be "local" or "production", not {ENVIRONMENT!r}')
PRODUCTION = ENVIRONMENT == "production"
PORT_BASE = _number("PORT_BASE", 8000)
TEST_CLOCK_URL = _text("TEST_CLOCK_URL", "")  # for tests: the address of a fake clock, see core/clock.py
FAULT_INJECTION = _text(
    "FAULT_INJECTION", ""
)  # for tests: the crash point at which a process is killed, see core/fault_injection.py
LOG_LEVEL = _text("LOG_LEVEL", "info")  # of Coursebus's own log lines: debug, info, warning or error
if LOG_LEVEL not in {"debug", "info", "warning", "error"}:
    raise SystemExit(f"LOG_LEVEL must be debug, info, warning or error, not {LOG_LEVEL!r}")
LOG_READS = _is_on("LOG_READS")  # also log every GET
METRICS_HOST = _text("METRICS_HOST", "127.0.0.1")  # in a container 0.0.0.0, on a private network
METRICS_PORT = _number("METRICS_PORT", 0)  # of each process's Prometheus endpoint; 0: none
STATE_DIR = Path(_text("STATE_DIR", str(ROOT / ".local")))  # data and logs of the embedded servers

# Servers.
DATABASE_URL = _text("DATABASE_URL", f"postgresql+psycopg2://coursebus@{_local(32)}/coursebus")
REDIS_URL = _text("REDIS_URL", f"redis://{_local(79)}/0")  # queues and replies: AOF, noeviction
CACHE_URL = _text("CACHE_URL", f"redis://{_local(78)}/0")  # read cache: allkeys-lru
KAFKA_BOOTSTRAP_SERVERS = _text("KAFKA_BOOTSTRAP_SERVERS", _local(92))
KAFKA_TOPIC_PREFIX = _text("KAFKA_TOPIC_PREFIX", "")
KAFKA_REPLICATION = _number("KAFKA_REPLICATION", 3 if ENVIRONMENT == "production" else 1)
KAFKA_EMBEDDED = not _is_set("KAFKA_BOOTSTRAP_SERVERS")
KAFKA_PARTITIONS = _number("KAFKA_PARTITIONS", 3 if KAFKA_EMBEDDED else 12)  # 3 suffice for one local bridge
# How long the broker may delay a fetch that finds no messages. The embedded broker does not end a fetch when a message
# arrives: the message waits for the end of the fetch, and shorter fetches cost CPU (docs/decisions/0033).
KAFKA_FETCH_WAIT_MS = _number("KAFKA_FETCH_WAIT_MS", 20 if KAFKA_EMBEDDED else 100)
MONGO_URL = _text("MONGO_URL", f"mongodb://{_local(17)}/coursebus")
# smtps:// is implicit TLS. smtp:// uses STARTTLS if offered. On another machine it requires it before a login and,
# unless ALLOW_PLAINTEXT_SERVERS is on, in production. Certificates are verified. smtp+insecure:// never uses TLS. User
# and password are percent-encoded.
SMTP_URL = _text("SMTP_URL", f"smtp://{_local(25)}")
MAIL_FROM = _text("MAIL_FROM", "Coursebus <no-reply@coursebus.dev>")
# Limit of e-mails, and of push messages, per category and user within 24 hours. Notifications above it are shown in the
# in-app inbox only. Receipts and other mandatory notifications are not counted.
NOTIFICATIONS_PER_DAY = _number("NOTIFICATIONS_PER_DAY", 5)
UNSUBSCRIBE_LINK_DAYS = _number("UNSUBSCRIBE_LINK_DAYS", 365)  # validity of the unsubscribe link; laws require 30
# In-app notifications and delivery history are deleted this many days after their creation.
NOTIFICATIONS_RETENTION_DAYS = _number("NOTIFICATIONS_RETENTION_DAYS", 365)
EMAIL_LEASE_SECONDS = _number("EMAIL_LEASE_SECONDS", 120)  # after it, an interrupted e-mail is sent again
IDEMPOTENCY_LEASE_SECONDS = _number("IDEMPOTENCY_LEASE_SECONDS", 30)  # longer than a provider call with its retries
# After it, the message of a killed worker is delivered again. Must be longer than any task takes.
VISIBILITY_TIMEOUT_SECONDS = _number("VISIBILITY_TIMEOUT_SECONDS", 60)
WATCHDOG_SECONDS = _number("WATCHDOG_SECONDS", 15)  # after this time without a message, a worker pings its own queue


def database_url(service: str) -> str:
    """Return the database of ``service``: ``<SERVICE>_DATABASE_URL``, by default DATABASE_URL."""
    return _text(f"{service.upper()}_DATABASE_URL", DATABASE_URL)


# The gateway.
PUBLIC_URL = _text("PUBLIC_URL", f"http://{_local(0)}")
STREAM_BIND = _text("STREAM_BIND", _local(1))  # address of the notification stream's server
STREAM_URL = _text("STREAM_URL", f"http://{_local(1)}")  # its public URL, to which the gateway redirects
COMMAND_TIMEOUT_SECONDS = _number("COMMAND_TIMEOUT_SECONDS", 10)  # the deadline of a synchronous command
# The deadline of a read. Shorter, because the worker is dead or its queue is long, and repeating a read is harmless.
READ_TIMEOUT_SECONDS = _number("READ_TIMEOUT_SECONDS", 4)
SECRET_KEY = _text("SECRET_KEY", "local")  # signs list cursors and unsubscribe links
QUEUE_LIMIT = _number("QUEUE_LIMIT", 1000)  # messages in one queue above which the gateway answers 503
RATE_LIMITS = _text("RATE_LIMITS", "on") != "off"  # "off" is for load tests; refused in production
TRUSTED_PROXIES = _number("TRUSTED_PROXIES", 0)  # proxies that write X-Forwarded-For; 0: it is ignored
# Networks of those proxies, comma separated; "": X-Forwarded-For is accepted from every address.
TRUSTED_PROXY_NETWORKS = _list("TRUSTED_PROXY_NETWORKS", "")
# Origins whose scripts may call the API, comma separated. Tokens are sent in a header, never in a cookie, so "*" gives
# a script nothing that a server could not request. Locally a front end may run at any origin.
CORS_ORIGINS = _list("CORS_ORIGINS", "" if ENVIRONMENT == "production" else "*")
# Bulkhead: concurrent requests of one gateway process that wait for one service. Below its 8 threads (ops/gunicorn.py),
# so that a slow service leaves threads for the others.
MAX_REQUESTS_PER_SERVICE = _number("MAX_REQUESTS_PER_SERVICE", 6)

# Retention: rows are pruned after these times.
OUTBOX_RETENTION_DAYS = _number(
    "OUTBOX_RETENTION_DAYS", 14
)  # after publication; also the retention of the Kafka topics
INBOX_RETENTION_DAYS = _number("INBOX_RETENTION_DAYS", 30)  # longer than a topic or an outbox can redeliver an event
# An event may be republished for OUTBOX_RETENTION_DAYS. Then it stays on its topic for the same time, and up to a day
# until the segment is deleted. Without its inbox row it would be handled a second time and revert newer state.
if INBOX_RETENTION_DAYS < 2 * OUTBOX_RETENTION_DAYS + 2:
    raise SystemExit("INBOX_RETENTION_DAYS must be at least twice OUTBOX_RETENTION_DAYS, and two days more")
# Limits of a course, so that its outline fits into one event.
COURSE_LESSONS_MAX = 1000
COURSE_SECTIONS_MAX = 200
EVENT_MAX_BYTES = 512 * 1024  # of an event's JSON; a command that causes a larger event is refused
OPERATIONS_RETENTION_DAYS = _number("OPERATIONS_RETENTION_DAYS", 14)  # after their end
JOBS_RETENTION_DAYS = _number("JOBS_RETENTION_DAYS", 14)  # after their end
DEAD_LETTERS_RETENTION_DAYS = _number("DEAD_LETTERS_RETENTION_DAYS", 90)  # after they were replayed or discarded
# Longer than a provider may repeat a webhook, and longer than reconciliation looks back (3 days).
PROVIDER_EVENTS_RETENTION_DAYS = _number("PROVIDER_EVENTS_RETENTION_DAYS", 90)  # after they were applied or ignored
ORDER_HISTORY_RETENTION_DAYS = _number(
    "ORDER_HISTORY_RETENTION_DAYS", 730
)  # evidence for disputes, which may be opened for 540 days

# The event feed: longer than a webhook is retried, and shorter than INBOX_RETENTION_DAYS.
EVENT_FEED_RETENTION_DAYS = _number("EVENT_FEED_RETENTION_DAYS", 14)

# The audit looks back this far for published events that no handler processed, and redelivers them.
AUDIT_WINDOW_HOURS = _number("AUDIT_WINDOW_HOURS", 24)
AUDIT_EVERY_SECONDS = _number("AUDIT_EVERY_SECONDS", 60)
# Events of one service that a bridge may have in the queue or with a worker: more than the worker has threads, so that
# none is idle, but not many more, because commands wait behind them.
EVENTS_IN_FLIGHT = _number("EVENTS_IN_FLIGHT", 64)
# How long an event is retried after transient errors before it becomes a dead letter, which can be replayed.
EVENT_WAIT_SECONDS = _number("EVENT_WAIT_SECONDS", 3600)

# Secret of the mail provider's webhooks for bounces and complaints (Standard Webhooks: whsec_ and base64). Without one
# every report is refused. The default is for the embedded mail server only.
_LOCAL_MAIL_SECRET = "whsec_bG9jYWwgbWFpbCByZXBvcnRz"  # noqa: S105 published, and refused where it matters
EMAIL_WEBHOOK_SECRETS = (
    _standard_secrets("EMAIL_WEBHOOK_SECRET", _LOCAL_MAIL_SECRET)
    if _is_set("EMAIL_WEBHOOK_SECRET") or not (PRODUCTION or _is_set("SMTP_URL"))
    else ()
)

# Firebase Cloud Messaging: the JSON file of a service account. By default the file that the fake writes.
FIREBASE_CREDENTIALS = Path(_text("FIREBASE_CREDENTIALS", str(STATE_DIR / "fakes" / "push" / "service-account.json")))
FCM_URL = _text("FCM_URL", "https://fcm.googleapis.com" if _is_set("FIREBASE_CREDENTIALS") else f"http://{_local(35)}")
# Web Push: the signing key (P-256, base64url), the contact for push services, and the hosts that may be posted to. The
# list of hosts prevents SSRF, because the client names the URL of its push service.
_LOCAL_VAPID_KEY = "bG9jYWwgd2ViIHB1c2gga2V5LCBub3QgYSBzZWNyZXQ"
VAPID_PRIVATE_KEY = _text("VAPID_PRIVATE_KEY", _LOCAL_VAPID_KEY if ENVIRONMENT == "local" else "")
VAPID_SUBJECT = _text("VAPID_SUBJECT", "mailto:ops@coursebus.dev")
WEB_PUSH_HOSTS = _list(
    "WEB_PUSH_HOSTS", "fcm.googleapis.com, updates.push.services.mozilla.com, push.apple.com, notify.windows.com"
)
WEB_PUSH_FAKE_URL = f"http://{_local(35)}"  # the only local address, and the only one without TLS
PUSH_TIMEOUT_SECONDS = _number("PUSH_TIMEOUT_SECONDS", 5)

# Auth0, by default its fake.
AUTH0_DOMAIN = _text("AUTH0_DOMAIN", _local(10))
AUTH0_ISSUER = f"https://{AUTH0_DOMAIN}/" if _is_set("AUTH0_DOMAIN") else f"http://{AUTH0_DOMAIN}/"
AUTH0_AUDIENCE = _text("AUTH0_AUDIENCE", "https://api.coursebus.dev")
# The machine-to-machine client of Auth0's Management API.
AUTH0_CLIENT_ID = _text("AUTH0_CLIENT_ID", "coursebus-m2m")
AUTH0_CLIENT_SECRET = _text("AUTH0_CLIENT_SECRET", "" if _is_set("AUTH0_DOMAIN") else "coursebus-m2m-local")
# Prefix of the claims email, email_verified, name and roles, which an Action of the tenant adds to access tokens.
CLAIMS_NAMESPACE = _text("CLAIMS_NAMESPACE", "https://coursebus.dev/")

# Whether roles and erasures are pushed to Auth0: if a machine-to-machine client is configured, and to the fake.
AUTH0_SYNC_ENABLED = not _is_set("AUTH0_DOMAIN") or _is_set("AUTH0_CLIENT_ID")
# The Authorization header of Auth0's log streams and event streams, with or without "Bearer ". Without a token, every
# webhook is refused. The default is for the fake only.
AUTH0_WEBHOOK_TOKENS = (
    _secrets("AUTH0_WEBHOOK_TOKEN", "auth0-hook-local")
    if _is_set("AUTH0_WEBHOOK_TOKEN") or not (PRODUCTION or _is_set("AUTH0_DOMAIN"))
    else ()
)
ERASED_SUBS_RETENTION_DAYS = _number("ERASED_SUBS_RETENTION_DAYS", 30)  # longer than token lifetime and webhook delay

# Stripe, by default its fake.
STRIPE_SECRET_KEY = _text("STRIPE_SECRET_KEY", "sk_test_local")
STRIPE_API_URL = _text(
    "STRIPE_API_URL", "https://api.stripe.com" if _is_set("STRIPE_SECRET_KEY") else f"http://{_local(20)}"
)
STRIPE_ACCOUNT = _text("STRIPE_ACCOUNT", "main")  # name of the key's account; Stripe objects are stored with it
STRIPE_WEBHOOK_SECRETS = (
    _secrets("STRIPE_WEBHOOK_SECRET", "whsec_local")
    if _is_set("STRIPE_WEBHOOK_SECRET") or not (PRODUCTION or _is_set("STRIPE_SECRET_KEY"))
    else ()
)

# YooKassa, by default its fake.
YOOKASSA_SHOP_ID = _text("YOOKASSA_SHOP_ID", "100500")
YOOKASSA_SECRET_KEY = _text("YOOKASSA_SECRET_KEY", "test_local")
YOOKASSA_API_URL = _text(
    "YOOKASSA_API_URL", "https://api.yookassa.ru/v3" if _is_set("YOOKASSA_SHOP_ID") else f"http://{_local(30)}/v3"
)
# The networks of its webhooks, from its documentation; locally the address of the fake.
YOOKASSA_TRUSTED_NETWORKS = _list(
    "YOOKASSA_TRUSTED_NETWORKS",
    "185.71.76.0/27,185.71.77.0/27,77.75.153.0/25,77.75.154.128/25,77.75.156.11,77.75.156.35,2a02:5180::/32"
    if _is_set("YOOKASSA_SHOP_ID") or PRODUCTION
    else "127.0.0.2",
)
# YooKassa's code of the VAT rate on receipts (1: no VAT). 0: the seller sends receipts by another system.
YOOKASSA_VAT_CODE = _number("YOOKASSA_VAT_CODE", 1)

# The available payment providers: in production those with keys, at least one.
PAYMENT_PROVIDERS = tuple(
    name
    for name, key in (("stripe", "STRIPE_SECRET_KEY"), ("yookassa", "YOOKASSA_SHOP_ID"))
    if _is_set(key) or not PRODUCTION
)
PAYMENT_TEST_KEYS = _is_on("PAYMENT_TEST_KEYS")  # lets production start with test keys, for a trial
# Lets production connect to servers without TLS or a password, on a trusted private network.
ALLOW_PLAINTEXT_SERVERS = _is_on("ALLOW_PLAINTEXT_SERVERS")

PROVIDER_TIMEOUT_SECONDS = _number("PROVIDER_TIMEOUT_SECONDS", 10)
# Origins to which a checkout session may return the buyer, comma separated. Locally every origin, because a front end
# may run anywhere.
RETURN_URL_ORIGINS = tuple(_text("RETURN_URL_ORIGINS", PUBLIC_URL if ENVIRONMENT == "production" else "*").split(","))
INVOICE_SELLER_NAME = _text("INVOICE_SELLER_NAME", "Coursebus")  # the seller's name on invoices
CHECKOUT_RETURN_URL = _text("CHECKOUT_RETURN_URL", PUBLIC_URL)  # for checkouts without a success_url


# Webhooks to integrators.
WEBHOOK_TIMEOUT_SECONDS = _number("WEBHOOK_TIMEOUT_SECONDS", 10)  # from the DNS query to the last byte
# Delays after failed attempts, with 20 % jitter: three days in total.
WEBHOOK_RETRY_DELAYS_SECONDS = tuple(
    map(int, _list("WEBHOOK_RETRY_DELAYS_SECONDS", "5,300,1800,7200,18000,36000,50400,64800,79200"))
)
WEBHOOK_DISABLED_AFTER_HOURS = _number("WEBHOOK_DISABLED_AFTER_HOURS", 72)  # of failures without a success
WEBHOOK_ENDPOINTS_MAX = _number("WEBHOOK_ENDPOINTS_MAX", 100)  # an event costs one row per subscribed endpoint
WEBHOOK_SECRET_OVERLAP_HOURS = _number("WEBHOOK_SECRET_OVERLAP_HOURS", 24)  # both secrets sign after a rotation
# Locally a receiver may run on this machine and use plain HTTP; other private addresses are always refused.
WEBHOOK_ALLOW_LOOPBACK = _text("WEBHOOK_ALLOW_LOOPBACK", "off" if ENVIRONMENT == "production" else "on") == "on"


def validate_production_settings() -> None:
    """Raise SystemExit with all faults if the settings are unsafe."""
    if found := find_unsafe_settings():
        raise SystemExit("\n".join(found))


def find_unsafe_settings() -> list[str]:
    """Return the faults of the settings.

    Published default secrets are also checked outside production, if the server that they protect is real.
    """
    checks = [*_default_secret_checks()]
    if ENVIRONMENT == "production":
        checks += [*_production_checks(), *_provider_checks(), *_server_checks()]
    return list(dict.fromkeys(reason for is_unsafe, reason in checks if is_unsafe))


_SECRET_BYTES_MIN = 32
_Checks = Iterator[tuple[bool, str]]


def _default_secret_checks() -> _Checks:
    """Refuse the local stack's secrets for real servers: they are published in this repository."""
    production = ENVIRONMENT == "production"
    for name, value, published, is_real in (
        ("SECRET_KEY", SECRET_KEY, "local", _is_set("AUTH0_DOMAIN")),
        ("AUTH0_CLIENT_SECRET", AUTH0_CLIENT_SECRET, "coursebus-m2m-local", _is_set("AUTH0_DOMAIN")),
        ("AUTH0_WEBHOOK_TOKEN", AUTH0_WEBHOOK_TOKENS, "auth0-hook-local", _is_set("AUTH0_DOMAIN")),
        ("EMAIL_WEBHOOK_SECRET", EMAIL_WEBHOOK_SECRETS, _LOCAL_MAIL_SECRET, _is_set("SMTP_URL")),
        ("STRIPE_WEBHOOK_SECRET", STRIPE_WEBHOOK_SECRETS, "whsec_local", _is_set("STRIPE_SECRET_KEY")),
        ("YOOKASSA_SECRET_KEY", YOOKASSA_SECRET_KEY, "test_local", _is_set("YOOKASSA_SHOP_ID")),
        ("VAPID_PRIVATE_KEY", VAPID_PRIVATE_KEY, _LOCAL_VAPID_KEY, production),
    ):
        held = value if isinstance(value, tuple) else (value,)
        yield is_real and published in held, f"{name} must not be the published default, which is no secret"


def _production_checks() -> _Checks:
    yield bool(FAULT_INJECTION), "FAULT_INJECTION kills processes, and must not be set in production"
    yield bool(TEST_CLOCK_URL), "TEST_CLOCK_URL moves the time, and must not be set in production"
    yield not _is_set("AUTH0_DOMAIN"), "AUTH0_DOMAIN must be set in production"
    for name, secrets in (("SECRET_KEY", (SECRET_KEY,)), ("AUTH0_WEBHOOK_TOKEN", AUTH0_WEBHOOK_TOKENS)):
        is_short = any(len(secret.encode()) < _SECRET_BYTES_MIN for secret in secrets)
        yield is_short, f"{name} must have at least {_SECRET_BYTES_MIN} bytes in production: openssl rand -hex 32"
    for name, url in (("PUBLIC_URL", PUBLIC_URL), ("STREAM_URL", STREAM_URL)):
        yield urlsplit(url).scheme != "https", f"{name} must begin with https:// in production"
    yield WEBHOOK_ALLOW_LOOPBACK, "WEBHOOK_ALLOW_LOOPBACK must not be on in production"
    yield not RATE_LIMITS, "RATE_LIMITS must not be off in production"
    yield "*" in RETURN_URL_ORIGINS, "RETURN_URL_ORIGINS must name the origins in production"
    yield "*" in CORS_ORIGINS, "CORS_ORIGINS must name the origins in production"


def _provider_checks() -> _Checks:
    yield not PAYMENT_PROVIDERS, "STRIPE_SECRET_KEY or YOOKASSA_SHOP_ID must be set in production: one is enough"
    if "stripe" in PAYMENT_PROVIDERS:
        yield (
            urlsplit(STRIPE_API_URL).hostname != "api.stripe.com",
            "STRIPE_API_URL must be Stripe's own host in production",
        )
        yield not STRIPE_WEBHOOK_SECRETS, "STRIPE_WEBHOOK_SECRET must be set in production"
        yield _is_test_key(STRIPE_SECRET_KEY), _TEST_KEY.format("STRIPE_SECRET_KEY")
    if "yookassa" in PAYMENT_PROVIDERS:
        yield (
            urlsplit(YOOKASSA_API_URL).hostname != "api.yookassa.ru",
            "YOOKASSA_API_URL must be YooKassa's own host in production",
        )
        yield not _is_set("YOOKASSA_SECRET_KEY"), "YOOKASSA_SECRET_KEY must be set in production"
        yield _is_test_key(YOOKASSA_SECRET_KEY), _TEST_KEY.format("YOOKASSA_SECRET_KEY")


_TEST_KEY = "{} is a test key, with which nobody is charged: PAYMENT_TEST_KEYS=on allows it in production"


def _is_test_key(key: str) -> bool:
    return not PAYMENT_TEST_KEYS and key.startswith(("sk_test_", "rk_test_", "test_"))


def _server_checks() -> _Checks:
    for name, url in (
        ("DATABASE_URL", DATABASE_URL),
        ("REDIS_URL", REDIS_URL),
        ("CACHE_URL", CACHE_URL),
        ("MONGO_URL", MONGO_URL),
        ("KAFKA_BOOTSTRAP_SERVERS", None),
        ("SMTP_URL", None),
    ):
        yield not _is_set(name), f"{name} must be set in production: its default is the server of the local stack"
        if url is not None:
            is_open = not ALLOW_PLAINTEXT_SERVERS and _is_set(name) and not _is_encrypted_and_authenticated(url)
            yield is_open, f"{name} has no password or no TLS: ALLOW_PLAINTEXT_SERVERS=on allows it in production"
    if urlsplit(SMTP_URL).scheme == "smtp+insecure":
        has_password = urlsplit(SMTP_URL).username is not None
        yield has_password, "SMTP_URL must not send a password without TLS in production"
        is_open = not has_password and not ALLOW_PLAINTEXT_SERVERS
        yield is_open, "SMTP_URL uses no TLS: ALLOW_PLAINTEXT_SERVERS=on allows it in production"


def _is_encrypted_and_authenticated(url: str) -> bool:
    """Return whether ``url`` has TLS, and a password or a client certificate."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    tls = (
        parts.scheme in {"rediss", "mongodb+srv"}
        or query.get("sslmode") in {"require", "verify-ca", "verify-full"}
        or "true" in {query.get("tls"), query.get("ssl")}
    )
    certificate = {"sslcert", "ssl_certfile", "tlsCertificateKeyFile"} & set(query)
    return tls and bool(parts.password or certificate)


if __name__ == "__main__":  # python -m settings: print the faults of the current environment
    raise SystemExit("\n".join(find_unsafe_settings()) or 0)
