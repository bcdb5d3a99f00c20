"""Every environment variable that Coursebus reads, typed, with the unit in its name.

The default of a server's URL is the server of the local stack, whose ports are relative to ``PORT_BASE`` (ops/dev).
The environment is read once at import and is the only configuration of a process. ``NAME_FILE`` names a file that
contains the value of ``NAME``. ``python -m settings`` explains the configuration, ``python -m settings check`` reports
what is wrong with it.
"""

import os
import sys
from pathlib import Path

from core.environment import Environment

ROOT = Path(__file__).parent.parent
read = Environment(os.environ)


def _local(port: int) -> str:
    return f"127.0.0.1:{PORT_BASE + port}"


read.group("Process")
# Each is a module or package of workers/, a queue, a topic and a schema.
SERVICES = ("courses", "integrations", "notifications", "payments", "progress", "users")
SERVICE = read.text("SERVICE", "shared")  # the service whose queue this worker serves
WORKER_NUMBER = read.number("WORKER_NUMBER", 1)  # of the workers of a service on one host, whose names must differ
COURSEBUS_VERSION = read.text("COURSEBUS_VERSION", "development")  # the image sets both
COURSEBUS_REVISION = read.text("COURSEBUS_REVISION", "")  # the commit
ENVIRONMENT = read.choice("ENVIRONMENT", "local", ("local", "production"))
PRODUCTION = ENVIRONMENT != "local"  # an unknown word is reported with the checks of production
PORT_BASE = read.number("PORT_BASE", 8000)
TEST_CLOCK_URL = read.text("TEST_CLOCK_URL", "")  # for tests: the address of a fake clock, see core/clock.py
FAULT_INJECTION = read.text(
    "FAULT_INJECTION", ""
)  # for tests: the crash point at which a process is killed, see core/fault_injection.py
LOG_LEVEL = read.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error"))  # of Coursebus's own log lines
# OpenTelemetry: the collector to which processes send spans by OTLP over HTTP, such as http://collector:4318; "": none.
# Needs requirements-tracing.txt (docs/guides/traces.md).
OTEL_EXPORTER_OTLP_ENDPOINT = read.text("OTEL_EXPORTER_OTLP_ENDPOINT", "")
OTEL_EXPORTER_OTLP_HEADERS = read.secret("OTEL_EXPORTER_OTLP_HEADERS", "")  # key=value, comma separated, for its login
TRACES_SAMPLED_PERCENT = read.number("TRACES_SAMPLED_PERCENT", 100)  # of the requests without a traceparent
if not 0 <= TRACES_SAMPLED_PERCENT <= 100:  # noqa: PLR2004
    read.errors.append("TRACES_SAMPLED_PERCENT must be between 0 and 100")
LOG_READS = read.switch("LOG_READS", default=False)  # also log every GET
METRICS_HOST = read.text("METRICS_HOST", "127.0.0.1")  # in a container 0.0.0.0, on a private network
METRICS_PORT = read.number("METRICS_PORT", 0)  # of each process's Prometheus endpoint; 0: none
FLOWER_BASIC_AUTH = read.secret("FLOWER_BASIC_AUTH", "")  # user:password of Flower; several, comma separated
STATE_DIR = Path(read.text("STATE_DIR", str(ROOT / ".local")))  # data and logs of the embedded servers

read.group("Servers")
# The login of this process: workers and the bridge may each have their own (docs/running.md).
DATABASE_URL = read.database_url("DATABASE_URL", f"postgresql+psycopg2://coursebus@{_local(32)}/coursebus")
# The database of one service, if it has its own.
_DATABASE_URLS = {service: read.database_url(f"{service.upper()}_DATABASE_URL", "") for service in SERVICES}
# transaction: DATABASE_URL is a pooler such as PgBouncer that assigns a server connection to each transaction. The role
# and the timeouts are then set within each transaction.
DATABASE_POOLING = read.choice("DATABASE_POOLING", "session", ("session", "transaction"))
# The server without the pooler, for the migrations and the relay of the bridge, which hold locks of their session.
DIRECT_DATABASE_URL = read.database_url("DIRECT_DATABASE_URL", "")
_DIRECT_DATABASE_URLS = {
    service: read.database_url(f"{service.upper()}_DIRECT_DATABASE_URL", "") for service in SERVICES
}
# With these, the migrations let the role coursebus_<service>, or coursebus_bridge, log in. No other process reads them.
DATABASE_PASSWORDS = {name: read.secret(f"{name.upper()}_DATABASE_PASSWORD", "") for name in (*SERVICES, "bridge")}
REDIS_URL = read.redis_url("REDIS_URL", f"redis://{_local(79)}/0")  # queues and replies: AOF, noeviction
CACHE_URL = read.redis_url("CACHE_URL", f"redis://{_local(78)}/0")  # read cache: allkeys-lru
KAFKA_BOOTSTRAP_SERVERS = read.text("KAFKA_BOOTSTRAP_SERVERS", _local(92))
# SSL encrypts, SASL_SSL also logs in. SASL_PLAINTEXT logs in without encryption, for a trusted network.
KAFKA_SECURITY_PROTOCOL = read.choice(
    "KAFKA_SECURITY_PROTOCOL", "PLAINTEXT", ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
)
KAFKA_SASL_MECHANISM = read.choice(
    "KAFKA_SASL_MECHANISM", "SCRAM-SHA-512", ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
)
KAFKA_USERNAME = read.text("KAFKA_USERNAME", "")
KAFKA_PASSWORD = read.secret("KAFKA_PASSWORD", "")
KAFKA_CA_FILE = read.text("KAFKA_CA_FILE", "")  # PEM certificates that sign the brokers'; "": those of the system
if KAFKA_CA_FILE and not Path(KAFKA_CA_FILE).is_file():
    read.errors.append(f"KAFKA_CA_FILE does not exist: {KAFKA_CA_FILE}")
# Further options of librdkafka for every client, as a JSON object of texts; with OAUTHBEARER they name the endpoint of
# the tokens. Options on which the delivery of events depends, such as acks and partitioner, keep Coursebus's values.
KAFKA_OPTIONS = read.texts("KAFKA_OPTIONS", "{}")
# Whether the bridge creates missing topics. "off": an administrator creates those of `python -m bridge topics`.
KAFKA_CREATE_TOPICS = read.switch("KAFKA_CREATE_TOPICS", default=True)
_HAS_KAFKA_LOGIN = bool(KAFKA_USERNAME and KAFKA_PASSWORD) or KAFKA_SASL_MECHANISM == "OAUTHBEARER"
if KAFKA_SECURITY_PROTOCOL.startswith("SASL") != _HAS_KAFKA_LOGIN:
    read.errors.append(
        "KAFKA_SECURITY_PROTOCOL must be SASL_… with KAFKA_USERNAME and KAFKA_PASSWORD or with OAUTHBEARER, and must "
        "not be SASL_… without"
    )
KAFKA_TOPIC_PREFIX = read.text("KAFKA_TOPIC_PREFIX", "")
KAFKA_REPLICATION = read.number("KAFKA_REPLICATION", 3 if PRODUCTION else 1)
KAFKA_PARTITIONS = read.number("KAFKA_PARTITIONS", 12)  # of each topic, when the bridge creates it
# After this time without a heartbeat, a bridge loses its partitions to the others. Longer than the restart of a broker,
# so that a restart causes no rebalance.
KAFKA_SESSION_TIMEOUT_MS = read.number("KAFKA_SESSION_TIMEOUT_MS", 15_000)
# How long the broker holds a fetch that finds no messages; a message that arrives ends the fetch.
KAFKA_FETCH_WAIT_MS = read.number("KAFKA_FETCH_WAIT_MS", 500)
MONGO_URL = read.text("MONGO_URL", f"mongodb://{_local(17)}/coursebus")
# smtps:// is implicit TLS. smtp:// uses STARTTLS if offered. On another machine it requires it before a login and,
# unless ALLOW_PLAINTEXT_SERVERS is on, in production. Certificates are verified. smtp+insecure:// never uses TLS. User
# and password are percent-encoded.
SMTP_URL = read.text("SMTP_URL", f"smtp://{_local(25)}")
# Lets production connect to servers without TLS or a password, on a trusted private network.
ALLOW_PLAINTEXT_SERVERS = read.switch("ALLOW_PLAINTEXT_SERVERS", default=False)

read.group("Notifications")
MAIL_FROM = read.text("MAIL_FROM", "Coursebus <no-reply@coursebus.dev>")
# Limit of e-mails, and of push messages, per category and user within 24 hours. Notifications above it are shown in the
# in-app inbox only. Receipts and other mandatory notifications are not counted.
NOTIFICATIONS_PER_DAY = read.number("NOTIFICATIONS_PER_DAY", 5)
ANNOUNCEMENTS_PER_DAY = read.number("ANNOUNCEMENTS_PER_DAY", 3)  # of each course, within 24 hours
ACCESS_END_NOTICE_DAYS = read.number("ACCESS_END_NOTICE_DAYS", 3)  # learners are notified this long before access ends
UNSUBSCRIBE_LINK_DAYS = read.number("UNSUBSCRIBE_LINK_DAYS", 365)  # validity of the unsubscribe link; laws require 30
# In-app notifications and delivery history are deleted this many days after their creation.
NOTIFICATIONS_RETENTION_DAYS = read.number("NOTIFICATIONS_RETENTION_DAYS", 365)
EMAIL_LEASE_SECONDS = read.number("EMAIL_LEASE_SECONDS", 120)  # after it, an interrupted e-mail is sent again

# Lists of addresses to enroll or unenroll are deleted this many days after their end, invitations after their creation.
ENROLLMENT_BATCHES_RETENTION_DAYS = read.number("ENROLLMENT_BATCHES_RETENTION_DAYS", 30)
INVITATIONS_RETENTION_DAYS = read.number("INVITATIONS_RETENTION_DAYS", 90)

read.group("Sizes")
GATEWAY_PROCESSES = read.number("GATEWAY_PROCESSES", 2, minimum=1)  # one per core; each executes 40 requests at once
WEB_PROCESSES = read.number("WEB_PROCESSES", 2, minimum=1)  # one per core
# Commands and events that a worker handles at once. It has a database connection for each, and as many for peaks.
WORKER_THREADS = read.number("WORKER_THREADS", 4, minimum=2)

read.group("Workers")
# An interrupted command that calls a provider is resumed after this time. If the call still runs, it is repeated under
# the same ids, which is harmless (docs/decisions/0008).
IDEMPOTENCY_LEASE_SECONDS = read.number("IDEMPOTENCY_LEASE_SECONDS", 30)
# After it, the message of a killed worker is delivered again. Must be longer than any task takes.
VISIBILITY_TIMEOUT_SECONDS = read.number("VISIBILITY_TIMEOUT_SECONDS", 60)
# A stopping worker returns unfinished tasks to their queue after this time. Shorter than the grace period of Docker,
# Kubernetes or another supervisor, after which the worker would be killed.
WORKER_STOP_SECONDS = read.number("WORKER_STOP_SECONDS", 15)
WATCHDOG_SECONDS = read.number(
    "WATCHDOG_SECONDS", 15
)  # after this time without a message, a worker pings its own queue


def database_url(service: str) -> str:
    """Return the database of ``service``: ``<SERVICE>_DATABASE_URL``, by default DATABASE_URL."""
    return _DATABASE_URLS.get(service) or DATABASE_URL


def direct_database_url(service: str) -> str:
    """Return the database of ``service`` without a pooler: ``[<SERVICE>_]DIRECT_DATABASE_URL`` if it is set."""
    if _DATABASE_URLS.get(service):
        return _DIRECT_DATABASE_URLS[service] or _DATABASE_URLS[service]
    return DIRECT_DATABASE_URL or DATABASE_URL


read.group("Gateway")
PUBLIC_URL = read.text("PUBLIC_URL", f"http://{_local(0)}")
STREAM_BIND = read.text("STREAM_BIND", _local(1))  # address of the notification stream's server
STREAM_URL = read.text("STREAM_URL", f"http://{_local(1)}")  # its public URL, to which the gateway redirects
COMMAND_TIMEOUT_SECONDS = read.number("COMMAND_TIMEOUT_SECONDS", 10)  # the deadline of a synchronous command
# The deadline of a read. Shorter, because the worker is dead or its queue is long, and repeating a read is harmless.
READ_TIMEOUT_SECONDS = read.number("READ_TIMEOUT_SECONDS", 4)
SECRET_KEY = read.secret("SECRET_KEY", "local")  # signs list cursors and unsubscribe links
QUEUE_LIMIT = read.number("QUEUE_LIMIT", 1000)  # messages in one queue above which the gateway answers 503
RATE_LIMITS = read.switch("RATE_LIMITS", default=True)  # "off" is for load tests; refused in production
TRUSTED_PROXIES = read.number("TRUSTED_PROXIES", 0)  # proxies that write X-Forwarded-For; 0: it is ignored
# Networks of those proxies, comma separated; "": X-Forwarded-For is accepted from every address.
TRUSTED_PROXY_NETWORKS = read.list("TRUSTED_PROXY_NETWORKS", "")
# Origins whose scripts may call the API, comma separated. Tokens are sent in a header, never in a cookie, so "*" gives
# a script nothing that a server could not request. Locally a front end may run at any origin.
CORS_ORIGINS = read.list("CORS_ORIGINS", "" if PRODUCTION else "*")
# Bulkhead: requests of one gateway process that one service may execute at the same time. With those that wait for a
# slot (api/bulkheads.py) they are fewer than its threads (ops/gunicorn.py): a slow service leaves some to the others.
MAX_REQUESTS_PER_SERVICE = read.number("MAX_REQUESTS_PER_SERVICE", 16)

read.group("Web pages")
# Public address of the storefront. The gateway redirects / there, and checkouts without a success_url return there.
# "": there are no pages.
WEB_URL = read.text("WEB_URL", "" if PRODUCTION else f"http://{_local(2)}").rstrip("/")
API_URL = read.text("API_URL", PUBLIC_URL)  # the gateway as the pages' process reaches it
WEB_SESSION_HOURS = read.number("WEB_SESSION_HOURS", 12)  # after it people sign in again; at most the token's lifetime
# The payment providers to choose from: those whose keys the payments worker has.
WEB_PAYMENT_PROVIDERS = read.list("WEB_PAYMENT_PROVIDERS", "stripe, yookassa")
# Where staff open Flower and Grafana; the console links there. "": no link.
FLOWER_URL = read.text("FLOWER_URL", "" if PRODUCTION else f"http://{_local(5)}")
GRAFANA_URL = read.text("GRAFANA_URL", "")

read.group("Retention and recovery")  # rows are pruned after these times
OUTBOX_RETENTION_DAYS = read.number(
    "OUTBOX_RETENTION_DAYS", 14
)  # after publication; also the retention of the Kafka topics
INBOX_RETENTION_DAYS = read.number(
    "INBOX_RETENTION_DAYS", 30
)  # longer than a topic or an outbox can redeliver an event
# An event may be republished for OUTBOX_RETENTION_DAYS. Then it stays on its topic for the same time, and up to a day
# until the segment is deleted. Without its inbox row it would be handled a second time and revert newer state.
if INBOX_RETENTION_DAYS < 2 * OUTBOX_RETENTION_DAYS + 2:
    read.errors.append("INBOX_RETENTION_DAYS must be at least twice OUTBOX_RETENTION_DAYS, and two days more")
# Limits of a course, so that its outline fits into one event.
COURSE_LESSONS_MAX = 1000
COURSE_SECTIONS_MAX = 200
EVENT_MAX_BYTES = 512 * 1024  # of an event's JSON; a command that causes a larger event is refused
OPERATIONS_RETENTION_DAYS = read.number("OPERATIONS_RETENTION_DAYS", 14)  # after their end
JOBS_RETENTION_DAYS = read.number("JOBS_RETENTION_DAYS", 14)  # after their end
# Of the audit log, which every service writes and none may delete earlier than 365 days. 0: without limit.
AUDIT_RETENTION_DAYS = read.number("AUDIT_RETENTION_DAYS", 0)
if 0 < AUDIT_RETENTION_DAYS < 365:  # noqa: PLR2004 as the function in the database
    read.errors.append("AUDIT_RETENTION_DAYS must be at least 365, or 0 to keep the audit log")
DEAD_LETTERS_RETENTION_DAYS = read.number("DEAD_LETTERS_RETENTION_DAYS", 90)  # after they were replayed or discarded
# Longer than a provider may repeat a webhook, and longer than reconciliation looks back (3 days).
PROVIDER_EVENTS_RETENTION_DAYS = read.number("PROVIDER_EVENTS_RETENTION_DAYS", 90)  # after they were applied or ignored
ORDER_HISTORY_RETENTION_DAYS = read.number(
    "ORDER_HISTORY_RETENTION_DAYS", 730
)  # evidence for disputes, which may be opened for 540 days

# The event feed: longer than a webhook is retried, and shorter than INBOX_RETENTION_DAYS.
EVENT_FEED_RETENTION_DAYS = read.number("EVENT_FEED_RETENTION_DAYS", 14)

# The audit looks back this far for published events that no handler processed, and redelivers them.
AUDIT_WINDOW_HOURS = read.number("AUDIT_WINDOW_HOURS", 24)
AUDIT_EVERY_SECONDS = read.number("AUDIT_EVERY_SECONDS", 60)
# Messages with events that a bridge may have in the queue of a service or with its workers: more than all its workers
# have threads (WORKER_THREADS), so that none is idle, but not many more, because commands wait behind them.
EVENT_MESSAGES_IN_FLIGHT = read.number("EVENT_MESSAGES_IN_FLIGHT", 6)
# Events of different keys that one message may carry. A worker handles them in one transaction.
EVENTS_PER_MESSAGE = read.number("EVENTS_PER_MESSAGE", 16)
# How long an event waits for others to share its message, if its handlers are not urgent (bridge/routes.py). 0: not at
# all. The wait begins when the bridge receives the event.
EVENT_GATHER_MS = read.number("EVENT_GATHER_MS", 250)
# How long an event is retried after transient errors before it becomes a dead letter, which can be replayed.
EVENT_WAIT_SECONDS = read.number("EVENT_WAIT_SECONDS", 3600)

read.group("Notifications")
# Secret of the mail provider's webhooks for bounces and complaints (Standard Webhooks: whsec_ and base64). Without one
# every report is refused. The default is for the embedded mail server only.
LOCAL_MAIL_SECRET = "whsec_bG9jYWwgbWFpbCByZXBvcnRz"  # noqa: S105 published, and refused where it matters
EMAIL_WEBHOOK_SECRETS = read.standard_webhook_secrets(
    "EMAIL_WEBHOOK_SECRET", "" if PRODUCTION or read.is_set("SMTP_URL") else LOCAL_MAIL_SECRET
)

# Firebase Cloud Messaging: the JSON file of a service account. By default the file that the fake writes.
FIREBASE_CREDENTIALS = Path(
    read.text("FIREBASE_CREDENTIALS", str(STATE_DIR / "fakes" / "push" / "service-account.json"))
)
FCM_URL = read.text(
    "FCM_URL", "https://fcm.googleapis.com" if read.is_set("FIREBASE_CREDENTIALS") else f"http://{_local(35)}"
)
# Web Push: the signing key (P-256, base64url), the contact for push services, and the hosts that may be posted to. The
# list of hosts prevents SSRF, because the client names the URL of its push service.
LOCAL_VAPID_KEY = "bG9jYWwgd2ViIHB1c2gga2V5LCBub3QgYSBzZWNyZXQ"
VAPID_PRIVATE_KEY = read.secret("VAPID_PRIVATE_KEY", LOCAL_VAPID_KEY if not PRODUCTION else "")
VAPID_SUBJECT = read.text("VAPID_SUBJECT", "mailto:ops@coursebus.dev")
WEB_PUSH_HOSTS = read.list(
    "WEB_PUSH_HOSTS", "fcm.googleapis.com, updates.push.services.mozilla.com, push.apple.com, notify.windows.com"
)
WEB_PUSH_FAKE_URL = f"http://{_local(35)}"  # the only local address, and the only one without TLS
PUSH_TIMEOUT_SECONDS = read.number("PUSH_TIMEOUT_SECONDS", 5)

read.group("Sign-in")  # by default the fake of Auth0
# Without "https://". With OIDC_ISSUER it is needed for Auth0's Management API and webhooks only.
AUTH0_DOMAIN = read.text("AUTH0_DOMAIN", _local(10))
AUTH0_ISSUER = f"https://{AUTH0_DOMAIN}/" if read.is_set("AUTH0_DOMAIN") else f"http://{AUTH0_DOMAIN}/"
AUTH0_AUDIENCE = read.text("AUTH0_AUDIENCE", "https://api.coursebus.dev")
# The machine-to-machine client of Auth0's Management API.
AUTH0_CLIENT_ID = read.text("AUTH0_CLIENT_ID", "coursebus-m2m")
AUTH0_CLIENT_SECRET = read.secret("AUTH0_CLIENT_SECRET", "" if read.is_set("AUTH0_DOMAIN") else "coursebus-m2m-local")
# Prefix of the claims email, email_verified, name and roles, which an Action of the tenant adds to access tokens.
CLAIMS_NAMESPACE = read.text("CLAIMS_NAMESPACE", "https://coursebus.dev/")
# Any issuer of OpenID Connect, exactly as in the claim iss of its tokens (docs/guides/sign-in.md). By default Auth0.
OIDC_ISSUER = read.text("OIDC_ISSUER", AUTH0_ISSUER)
OIDC_AUDIENCE = read.text("OIDC_AUDIENCE", AUTH0_AUDIENCE)  # the aud of access tokens for this API
OIDC_DISCOVERY_URL = f"{OIDC_ISSUER.rstrip('/')}/.well-known/openid-configuration"
# The signing keys. "": the address that OIDC_DISCOVERY_URL names.
OIDC_JWKS_URL = read.text("OIDC_JWKS_URL", "" if read.is_set("OIDC_ISSUER") else f"{AUTH0_ISSUER}.well-known/jwks.json")
# Where the claims are in an access token: a name, or the names of nested objects with dots between them.
OIDC_EMAIL_CLAIM = read.text("OIDC_EMAIL_CLAIM", f"{CLAIMS_NAMESPACE}email")
OIDC_EMAIL_VERIFIED_CLAIM = read.text("OIDC_EMAIL_VERIFIED_CLAIM", f"{CLAIMS_NAMESPACE}email_verified")
OIDC_NAME_CLAIM = read.text("OIDC_NAME_CLAIM", f"{CLAIMS_NAMESPACE}name")
OIDC_ROLES_CLAIM = read.text("OIDC_ROLES_CLAIM", f"{CLAIMS_NAMESPACE}roles")
# The permissions are an array or, in the claims scope and scp, words with spaces between them.
OIDC_PERMISSIONS_CLAIM = read.text("OIDC_PERMISSIONS_CLAIM", "permissions")
# The claim that only machine-to-machine tokens have; with =value they are those that have this value.
OIDC_MACHINE_CLAIM = read.text("OIDC_MACHINE_CLAIM", "gty=client-credentials")
# The confidential client of the pages, which signs people in: authorization code with PKCE.
_HAS_IDENTITY_PROVIDER = read.is_set("AUTH0_DOMAIN") or read.is_set("OIDC_ISSUER")
WEB_CLIENT_ID = read.text("WEB_CLIENT_ID", "" if _HAS_IDENTITY_PROVIDER else "coursebus-web")
WEB_CLIENT_SECRET = read.secret("WEB_CLIENT_SECRET", "" if _HAS_IDENTITY_PROVIDER else "coursebus-web-local")

# Whether roles and erasures are pushed to Auth0: if a machine-to-machine client is configured, and to the fake.
AUTH0_SYNC_ENABLED = not _HAS_IDENTITY_PROVIDER or (read.is_set("AUTH0_DOMAIN") and read.is_set("AUTH0_CLIENT_ID"))
# The Authorization header of Auth0's log streams and event streams, with or without "Bearer ". Without a token, every
# webhook is refused. The default is for the fake only.
AUTH0_WEBHOOK_TOKENS = read.secrets(
    "AUTH0_WEBHOOK_TOKEN", "" if PRODUCTION or _HAS_IDENTITY_PROVIDER else "auth0-hook-local"
)
ERASED_SUBS_RETENTION_DAYS = read.number(
    "ERASED_SUBS_RETENTION_DAYS", 30
)  # longer than token lifetime and webhook delay

read.group("Payments")  # by default the fakes of Stripe and YooKassa
STRIPE_SECRET_KEY = read.secret("STRIPE_SECRET_KEY", "sk_test_local")
STRIPE_API_URL = read.text(
    "STRIPE_API_URL", "https://api.stripe.com" if read.is_set("STRIPE_SECRET_KEY") else f"http://{_local(20)}"
)
STRIPE_ACCOUNT = read.text("STRIPE_ACCOUNT", "main")  # name of the key's account; Stripe objects are stored with it
STRIPE_WEBHOOK_SECRETS = read.secrets(
    "STRIPE_WEBHOOK_SECRET", "" if PRODUCTION or read.is_set("STRIPE_SECRET_KEY") else "whsec_local"
)

YOOKASSA_SHOP_ID = read.text("YOOKASSA_SHOP_ID", "100500")
YOOKASSA_SECRET_KEY = read.secret("YOOKASSA_SECRET_KEY", "test_local")
YOOKASSA_API_URL = read.text(
    "YOOKASSA_API_URL", "https://api.yookassa.ru/v3" if read.is_set("YOOKASSA_SHOP_ID") else f"http://{_local(30)}/v3"
)
# The networks of its webhooks, from its documentation; locally the address of the fake.
YOOKASSA_TRUSTED_NETWORKS = read.list(
    "YOOKASSA_TRUSTED_NETWORKS",
    "185.71.76.0/27,185.71.77.0/27,77.75.153.0/25,77.75.154.128/25,77.75.156.11,77.75.156.35,2a02:5180::/32"
    if read.is_set("YOOKASSA_SHOP_ID") or PRODUCTION
    else "127.0.0.2",
)
# YooKassa's code of the VAT rate on receipts (1: no VAT). 0: the seller sends receipts by another system.
YOOKASSA_VAT_CODE = read.number("YOOKASSA_VAT_CODE", 1)
# The format of fiscal documents (FFD) of the shop's cash register. 1.2 requires the unit of each line.
YOOKASSA_RECEIPT_FORMAT = read.choice("YOOKASSA_RECEIPT_FORMAT", "1.05", ("1.05", "1.2"))

# The available payment providers: in production those with keys, at least one.
PAYMENT_PROVIDERS = tuple(
    name
    for name, key in (("stripe", "STRIPE_SECRET_KEY"), ("yookassa", "YOOKASSA_SHOP_ID"))
    if read.is_set(key) or not PRODUCTION
)
PAYMENT_TEST_KEYS = read.switch("PAYMENT_TEST_KEYS", default=False)  # lets production start with test keys, for a trial

PROVIDER_TIMEOUT_SECONDS = read.number("PROVIDER_TIMEOUT_SECONDS", 10)  # of a call, once it is connected
# Origins to which a checkout session may return the buyer, comma separated. Locally every origin, because a front end
# may run anywhere.
RETURN_URL_ORIGINS = read.list("RETURN_URL_ORIGINS", (WEB_URL or PUBLIC_URL) if PRODUCTION else "*")
INVOICE_SELLER_NAME = read.text("INVOICE_SELLER_NAME", "Coursebus")  # the seller's name on invoices
INVOICE_SELLER_ADDRESS = read.text("INVOICE_SELLER_ADDRESS", "")  # the seller's address; lines separated by ";"
INVOICE_SELLER_TAX_ID = read.text("INVOICE_SELLER_TAX_ID", "")  # such as the number for VAT
INVOICE_NUMBER_PREFIX = read.text("INVOICE_NUMBER_PREFIX", "")  # before the numbers of invoices and credit notes
INVOICE_TAX_NAME = read.text("INVOICE_TAX_NAME", "VAT")  # of the tax line
# The rate of the tax that prices include, in hundredths of a percent: 2000 is 20 %. 0: invoices have no tax line.
INVOICE_TAX_BASIS_POINTS = read.number("INVOICE_TAX_BASIS_POINTS", 0)
CHECKOUT_RETURN_URL = read.text("CHECKOUT_RETURN_URL", WEB_URL or PUBLIC_URL)  # for checkouts without a success_url

read.group("Certificates")
CERTIFICATE_ISSUER = read.text("CERTIFICATE_ISSUER", INVOICE_SELLER_NAME)  # the name on certificates and badges
# Whether a certificate is revoked when access ends by a full refund or a lost dispute; a course may decide otherwise.
CERTIFICATE_REVOKE_ON_REFUND = read.switch("CERTIFICATE_REVOKE_ON_REFUND", default=False)
# Private keys that sign Open Badges, as PEM: RSA (RS256) or P-256 (ES256). The first one signs. Keep the one before it
# behind a comma: its public key is published as long as it is here. "": there are no badges.
LOCAL_BADGE_KEY = (Path(__file__).parent / "local_badge_key.pem").read_text().strip()
BADGE_SIGNING_KEYS = read.signing_keys("BADGE_SIGNING_KEY", "" if PRODUCTION else LOCAL_BADGE_KEY)

read.group("Files")
# The S3-compatible store of covers, attachments, captions and videos; "": nothing can be uploaded. Path-style requests.
STORAGE_URL = read.text("STORAGE_URL", "" if PRODUCTION else f"http://{_local(45)}").rstrip("/")
STORAGE_PUBLIC_URL = read.text("STORAGE_PUBLIC_URL", STORAGE_URL).rstrip(
    "/"
)  # its address for clients, in signed links
STORAGE_REGION = read.text("STORAGE_REGION", "us-east-1")
STORAGE_BUCKET = read.text("STORAGE_BUCKET", "coursebus")  # private; its CORS rules allow the origins of the pages
STORAGE_ACCESS_KEY = read.secret("STORAGE_ACCESS_KEY", "coursebus")
STORAGE_SECRET_KEY = read.secret("STORAGE_SECRET_KEY", "" if read.is_set("STORAGE_URL") else "coursebus-local")
UPLOAD_LINK_SECONDS = read.number("UPLOAD_LINK_SECONDS", 3600)
FILE_LINK_SECONDS = read.number("FILE_LINK_SECONDS", 6 * 3600)  # of a learner's link: longer than a video is watched

read.group("Webhooks to integrators")
WEBHOOK_TIMEOUT_SECONDS = read.number("WEBHOOK_TIMEOUT_SECONDS", 10)  # from the DNS query to the last byte
# Delays after failed attempts, with 20 % jitter: three days in total.
WEBHOOK_RETRY_DELAYS_SECONDS = read.numbers(
    "WEBHOOK_RETRY_DELAYS_SECONDS", "5,300,1800,7200,18000,36000,50400,64800,79200"
)
WEBHOOK_DISABLED_AFTER_HOURS = read.number("WEBHOOK_DISABLED_AFTER_HOURS", 72)  # of failures without a success
WEBHOOK_ENDPOINTS_MAX = read.number("WEBHOOK_ENDPOINTS_MAX", 100)  # an event costs one row per subscribed endpoint
WEBHOOK_SECRET_OVERLAP_HOURS = read.number("WEBHOOK_SECRET_OVERLAP_HOURS", 24)  # both secrets sign after a rotation
# Locally a receiver may run on this machine and use plain HTTP; other private addresses are always refused.
WEBHOOK_ALLOW_LOOPBACK = read.switch("WEBHOOK_ALLOW_LOOPBACK", default=not PRODUCTION)


def _is_being_explained() -> bool:
    """Return whether ``python -m settings`` is running, which reports these errors with all other problems."""
    return "-m" in sys.orig_argv and sys.orig_argv[sys.orig_argv.index("-m") + 1] == __name__


if read.errors and not _is_being_explained():
    raise SystemExit("\n".join(read.errors))
