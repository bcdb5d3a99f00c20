"""Prometheus metrics that processes count themselves.

Everything that can be derived from a table is read from it instead (``@database_metric`` in workers/runtime/metrics.py,
bridge/metrics.py), so that a restart loses nothing. Durations are in seconds. Labels have few values and never an id.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from core import tracing
from core.errors import DomainError

UNAVAILABLE, REJECTED = "unavailable", "rejected"  # outcomes of external calls: the alerts count the first only
_FROM_1_MS_TO_30_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

TASK_SECONDS = Histogram(
    "coursebus_task_seconds",
    "Duration of a task until its reply; done, replayed, refused, unavailable, crashed or poison.",
    ["queue", "task", "outcome"],
    buckets=_FROM_1_MS_TO_30_S,
)
TASK_WAIT_SECONDS = Histogram(
    "coursebus_task_wait_seconds",
    "Time that a message waited in its queue.",
    ["queue"],
    buckets=_FROM_1_MS_TO_30_S,
)
TASK_REFUSALS = Counter("coursebus_task_refusals", "Tasks that ended in an error of docs/errors.md.", ["task", "code"])
AUTH0_WEBHOOK_ENTRIES_SKIPPED = Counter(
    "coursebus_auth0_webhook_entries_skipped", "Entries of Auth0's webhooks that could not be read and were skipped."
)
EXTERNAL_CALL_SECONDS = Histogram(
    "coursebus_external_call_seconds",
    "Calls of external services: payment providers, Auth0, the issuer's keys, SMTP, push; ok, rejected, the code of an "
    "error, or crashed.",
    ["to", "call", "outcome"],
    buckets=_FROM_1_MS_TO_30_S,
)
EVENTS_PUBLISHED = Counter("coursebus_events_published", "Events that Kafka has acknowledged.", ["topic"])
EVENT_SECONDS = Histogram(
    "coursebus_event_seconds",
    "Time from recording an event to the reply of its handler after the commit.",
    ["handler"],
    buckets=_FROM_1_MS_TO_30_S,
)


WEBHOOK_SECONDS = Histogram(
    "coursebus_webhook_attempt_seconds",
    "Attempts to deliver a webhook: delivered, status_3xx to status_5xx, timeout, tls, unreachable, address_refused.",
    ["outcome"],
    buckets=_FROM_1_MS_TO_30_S,
)
WEBHOOKS_IN_FLIGHT = Gauge("coursebus_webhooks_in_flight", "Webhook delivery attempts in progress.")
STREAMS = Gauge("coursebus_streams", "Open notification streams (server-sent events).")
STREAM_NOTIFICATIONS = Counter("coursebus_stream_notifications", "Notifications written to streams.")
STREAMS_ENDED = Counter(
    "coursebus_streams_ended",
    "Streams that have ended: disconnected, expired, replaced, account_closed, or unavailable.",
    ["reason"],
)


@dataclass
class ExternalCall:
    """A call that runs. Set ``outcome`` if the service refused it and no exception says so."""

    outcome: str = "ok"


@contextmanager
def observe_external_call(service: str, call: str) -> Iterator[ExternalCall]:
    """Measure a call of an external service; the outcome is that of the call, the code of a DomainError, or crashed."""
    started = time.perf_counter()
    outcome = "crashed"
    running = ExternalCall()
    try:
        with tracing.span(f"{service} {call}", "client", attributes={"peer.service": service}) as span:
            yield running
            if running.outcome == UNAVAILABLE:
                span.fail(running.outcome)
        outcome = running.outcome
    except DomainError as error:
        outcome = error.code
        raise
    finally:
        EXTERNAL_CALL_SECONDS.labels(service, call, outcome).observe(time.perf_counter() - started)
