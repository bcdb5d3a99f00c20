"""A worker's numbers for Prometheus: every delivery is timed, and the service's tables are asked at each scrape.

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

Rows = Iterable[Sequence[Any]]  # the labels' values, then the number
Adapter = TypeVar("Adapter")

_ASKED_AT_MOST_EVERY_SECONDS = 5.0
_SHARE_OF_TIME = 0.01  # a question that takes long is asked so much less often
_STATEMENT_TIMEOUT = "SET LOCAL statement_timeout = '5s'"


@contextmanager
def measured(delivery: Delivery) -> Iterator[None]:
    """Time one delivery, count and log how it ended."""
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
    """``adapter``, whose methods are timed as calls of ``name``."""
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
    """A number read from the tables of the service, with the last answer.

    A question that fails is not asked again for a while either: one that times out would otherwise hold a connection
    for 5 s at each scrape. Until it is answered again the number is absent, and ``unanswered`` says so.
    """

    name: str
    what: str
    labels: tuple[str, ...]
    ask: Callable[[Session], Rows]
    _rows: list[tuple[Any, ...]] = field(default_factory=list)
    _next_at: float = 0.0  # monotonic
    unanswered: bool = False

    def metric(self, service: str) -> Metric | None:
        """Return the number as it is now, or was a little while ago; None where the last question failed."""
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


FACTS: list[tuple[str, Fact]] = []  # with the service whose tables tell it


def fact(name: str, what: str, *labels: str) -> Callable[[Callable[[Session], Rows]], Callable[[Session], Rows]]:
    """Export what the function reads as the metric ``name``; one that ends with ``_total`` never falls.

    Every worker of the service exports the same number: take the max over instances, not the sum.
    """

    def decorate(ask: Callable[[Session], Rows]) -> Callable[[Session], Rows]:
        FACTS.append((ask.__module__.split(".")[1], Fact(name, what, labels, ask)))
        return ask

    return decorate


class Facts(Collector):
    """All facts of one service, at each scrape."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._lock = threading.Lock()  # two scrapes ask once

    def describe(self) -> Iterable[Metric]:
        return []  # nothing is asked before the first scrape

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
    # The worker is one process of threads (docs/decisions/0007), so nothing forks after this.
    REGISTRY.register(Facts(settings.SERVICE))
    serve()
