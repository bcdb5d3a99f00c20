"""Prometheus metrics of a worker: the duration of every task, and gauges that are queried from the tables at a scrape.

@fact("coursebus_orders", "Orders, by what became of them.", "status")
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
from models.base import engine
from models.errors import DomainError
from models.log import get_logger
from models.metrics import TASK_REFUSALS, TASK_SECONDS, TASK_WAIT_SECONDS, calling, serve

from ._delivery import Delivery

log = get_logger(__name__)

Rows = Iterable[Sequence[Any]]  # of label values followed by the number
Adapter = TypeVar("Adapter")

_ASKED_AT_MOST_EVERY_SECONDS = 5.0
_SHARE_OF_TIME = 0.01  # queries use at most 1 % of the time: a slow one runs less often
_STATEMENT_TIMEOUT = "SET LOCAL statement_timeout = '5s'"


@contextmanager
def measured(delivery: Delivery) -> Iterator[None]:
    """Measure the waiting time and the duration of one execution, count its error and log its outcome."""
    queue = delivery.service
    _waited(queue).observe(max(time.time() - delivery.envelope.sent_at, 0))
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds, outcome = time.perf_counter() - began, _outcome(delivery)
        _took(queue, delivery.task, outcome).observe(seconds)
        log.info("task ended", outcome=outcome, **{"event.duration": int(seconds * 1e9)})


def _outcome(delivery: Delivery) -> str:
    """Return the value of the ``outcome`` label, and count the error of a refused task."""
    answer = delivery.answer
    if "result" in answer:
        return "replayed" if answer.get("replayed") else "done"
    if "error" in answer:
        error = DomainError.from_wire(answer["error"])
        TASK_REFUSALS.labels(delivery.task, error.code).inc()
        return "unavailable" if error.transient else "refused"
    return "poisonous" if "poison" in answer else "crashed"


@functools.cache
def _took(queue: str, task: str, outcome: str) -> Histogram:
    return TASK_SECONDS.labels(queue, task, outcome)


@functools.cache
def _waited(queue: str) -> Histogram:
    return TASK_WAIT_SECONDS.labels(queue)


def watched(name: str, adapter: Adapter) -> Adapter:
    """Wrap ``adapter`` so that the duration of its method calls is recorded under ``name``."""
    return cast("Adapter", _Watched(name, adapter))


class _Watched:
    def __init__(self, name: str, adapter: object) -> None:
        self._name = name
        self._adapter = adapter

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._adapter, attribute)
        return self._timed(attribute, found) if callable(found) else found

    def _timed(self, call: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with calling(self._name, call):
                return method(*args, **kwargs)

        return timed


@dataclass
class Fact:
    """A metric that is queried from the tables of a service; the last result is cached.

    A failed query is not repeated at once either: a query that times out would otherwise hold a connection for 5 s at
    each scrape. Until a query succeeds, the metric is absent and ``unanswered`` is true.
    """

    name: str
    what: str
    labels: tuple[str, ...]
    ask: Callable[[Session], Rows]
    _rows: list[tuple[Any, ...]] = field(default_factory=list)
    _next_at: float = 0.0  # monotonic
    unanswered: bool = False

    def metric(self, service: str) -> Metric | None:
        """Return the current or recently cached values; None if the last query failed."""
        if time.monotonic() >= self._next_at:
            self._refresh(service)
        if self.unanswered:
            return None
        family = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        metric = family(self.name, self.what, labels=self.labels)
        for *labels, number in self._rows:
            metric.add_metric([str(label) for label in labels], float(number or 0))
        return metric

    def _refresh(self, service: str) -> None:
        began = time.monotonic()
        try:
            with Session(engine(service)) as session:
                session.execute(text(_STATEMENT_TIMEOUT))
                self._rows = [tuple(row) for row in self.ask(session)]
            self.unanswered = False
        except SQLAlchemyError as error:
            self.unanswered = True
            log.warning("fact not known", metric=self.name, reason=str(error))
        finally:
            took = time.monotonic() - began
            self._next_at = began + max(_ASKED_AT_MOST_EVERY_SECONDS, took / _SHARE_OF_TIME)


FACTS: list[tuple[str, Fact]] = []  # (service that owns the tables, metric)


def fact(name: str, what: str, *labels: str) -> Callable[[Callable[[Session], Rows]], Callable[[Session], Rows]]:
    """Export the rows that the decorated query returns as the metric ``name``.

    A name that ends with ``_total`` makes a counter, whose value must never decrease; any other name makes a gauge.
    Every worker of the service exports the same number, so PromQL queries need max over instances, not sum.
    """

    def decorate(ask: Callable[[Session], Rows]) -> Callable[[Session], Rows]:
        FACTS.append((ask.__module__.split(".")[1], Fact(name, what, labels, ask)))
        return ask

    return decorate


class Facts(Collector):
    """Collector that exports all database metrics of one service at each scrape."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._lock = threading.Lock()  # concurrent scrapes run each query once

    def describe(self) -> Iterable[Metric]:
        return []  # so that registering the collector runs no query

    def collect(self) -> Iterator[Metric]:
        unanswered = GaugeMetricFamily(
            "coursebus_fact_unanswered", "Whether a number of the tables is unknown: 1 or 0.", labels=("fact",)
        )
        for service, each in FACTS:
            if service == self._service:
                with self._lock:
                    metric = each.metric(service)
                unanswered.add_metric([each.name], float(each.unanswered))
                if metric is not None:
                    yield metric
        yield unanswered


@signals.worker_init.connect
def _serve(**_: object) -> None:
    # The worker is one process with threads (docs/decisions/0007): nothing forks after the server has started.
    REGISTRY.register(Facts(settings.SERVICE))
    serve()
