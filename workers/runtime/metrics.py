"""Prometheus metrics of a worker: the duration of every task, and gauges that are queried from the tables at a scrape.

@database_metric("coursebus_orders", "Orders by status.", "status")
def orders(session):
    return session.execute(select(Order.status, func.count()).group_by(Order.status))
"""

import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from celery import signals
from prometheus_client import REGISTRY, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import settings
from core import health
from core.db import engine, ping
from core.log import get_logger
from core.metrics import TASK_REFUSALS, TASK_SECONDS, TASK_WAIT_SECONDS, observe_external_call
from core.redis import queue_redis
from models.errors import DomainError

from .execution import TaskExecution

log = get_logger(__name__)

Rows = Iterable[Sequence[Any]]  # of label values followed by the number
Adapter = TypeVar("Adapter")

_MIN_QUERY_INTERVAL_SECONDS = 5.0
_MAX_QUERY_TIME_SHARE = 0.01  # queries use at most 1 % of the time: a slow one runs less often
_STATEMENT_TIMEOUT = "SET LOCAL statement_timeout = '5s'"


@contextmanager
def observe_execution(execution: TaskExecution) -> Iterator[None]:
    """Measure the waiting time and the duration of one execution, count its error and log its outcome."""
    waited_seconds = time.time() - execution.envelope.sent_at
    started_at = time.perf_counter()
    try:
        yield
    finally:
        observe_ended(execution, waited_seconds, time.perf_counter() - started_at)


def observe_ended(execution: TaskExecution, waited_seconds: float, seconds: float, **ids: Any) -> None:
    """Record the waiting time and the duration of an ended execution, count its error and log its outcome.

    ``ids`` are added to the log line, beside those of the context.
    """
    queue, outcome = execution.service, _outcome(execution)
    _wait_histogram(queue).observe(max(waited_seconds, 0))
    _duration_histogram(queue, execution.task, outcome).observe(seconds)
    log.info("task ended", outcome=outcome, **ids, **{"event.duration": int(seconds * 1e9)})


def _outcome(execution: TaskExecution) -> str:
    """Return the value of the ``outcome`` label, and count the error of a refused task."""
    response = execution.response
    if "result" in response:
        return "replayed" if response.get("replayed") else "done"
    if "error" in response:
        error = DomainError.from_wire(response["error"])
        TASK_REFUSALS.labels(execution.task, error.code).inc()
        return "unavailable" if error.transient else "refused"
    return "poison" if "poison" in response else "crashed"


@functools.cache
def _duration_histogram(queue: str, task: str, outcome: str) -> Histogram:
    return TASK_SECONDS.labels(queue, task, outcome)


@functools.cache
def _wait_histogram(queue: str) -> Histogram:
    return TASK_WAIT_SECONDS.labels(queue)


def instrumented(name: str, adapter: Adapter) -> Adapter:
    """Wrap ``adapter`` so that the duration of its method calls is recorded under ``name``."""
    return cast("Adapter", _Instrumented(name, adapter))


class _Instrumented:
    def __init__(self, name: str, adapter: object) -> None:
        self._name = name
        self._adapter = adapter

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._adapter, attribute)
        return self._timed(attribute, found) if callable(found) else found

    def _timed(self, call: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with observe_external_call(self._name, call):
                return method(*args, **kwargs)

        return timed


@dataclass
class DatabaseMetric:
    """A metric that is queried from the tables of a service; the last result is cached.

    A failed query is not repeated at once either: a query that times out would otherwise hold a connection for 5 s at
    each scrape. Until a query succeeds, the metric is absent and ``unavailable`` is true.
    """

    name: str
    documentation: str
    labels: tuple[str, ...]
    query: Callable[[Session], Rows]
    _rows: list[tuple[Any, ...]] = field(default_factory=list)
    _next_at: float = 0.0  # monotonic
    unavailable: bool = False

    def metric(self, service: str) -> Metric | None:
        """Return the current or recently cached values; None if the last query failed."""
        if time.monotonic() >= self._next_at:
            self._refresh(service)
        if self.unavailable:
            return None
        family = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        metric = family(self.name, self.documentation, labels=self.labels)
        for *labels, number in self._rows:
            metric.add_metric([str(label) for label in labels], float(number or 0))
        return metric

    def _refresh(self, service: str) -> None:
        started_at = time.monotonic()
        try:
            with Session(engine(service)) as session:
                session.execute(text(_STATEMENT_TIMEOUT))
                self._rows = [tuple(row) for row in self.query(session)]
            self.unavailable = False
        except SQLAlchemyError as error:
            self.unavailable = True
            log.warning("database metric unavailable", metric=self.name, reason=str(error))
        finally:
            took = time.monotonic() - started_at
            self._next_at = started_at + max(_MIN_QUERY_INTERVAL_SECONDS, took / _MAX_QUERY_TIME_SHARE)


DATABASE_METRICS: list[tuple[str, DatabaseMetric]] = []  # (service that owns the tables, metric)


def database_metric(
    name: str, documentation: str, *labels: str
) -> Callable[[Callable[[Session], Rows]], Callable[[Session], Rows]]:
    """Export the rows that the decorated query returns as the metric ``name``.

    A name that ends with ``_total`` makes a counter, whose value must never decrease; any other name makes a gauge.
    Every worker of the service exports the same number, so PromQL queries need max over instances, not sum.
    """

    def decorate(query: Callable[[Session], Rows]) -> Callable[[Session], Rows]:
        DATABASE_METRICS.append((query.__module__.split(".")[1], DatabaseMetric(name, documentation, labels, query)))
        return query

    return decorate


class DatabaseMetricCollector(Collector):
    """Collector that exports all database metrics of one service at each scrape."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._lock = threading.Lock()  # concurrent scrapes run each query once

    def describe(self) -> Iterable[Metric]:
        return []  # so that registering the collector runs no query

    def collect(self) -> Iterator[Metric]:
        unavailable = GaugeMetricFamily(
            "coursebus_database_metric_unavailable",
            "1 if the metric cannot be read from the tables, else 0.",
            labels=("metric",),
        )
        for service, each in DATABASE_METRICS:
            if service == self._service:
                with self._lock:
                    metric = each.metric(service)
                unavailable.add_metric([each.name], float(each.unavailable))
                if metric is not None:
                    yield metric
        yield unavailable


@signals.worker_init.connect
def _serve(**_: object) -> None:
    # The worker is one process with threads (docs/decisions/0007): nothing forks after the server has started.
    REGISTRY.register(DatabaseMetricCollector(settings.SERVICE))
    health.serve(
        readiness={
            "consumer": _has_started.is_set,
            "postgres": lambda: ping(settings.SERVICE),
            "queue": lambda: queue_redis().ping(),
        }
    )


_has_started = threading.Event()  # the worker consumes its queue


@signals.worker_ready.connect
def _record_start(**_: object) -> None:
    _has_started.set()
