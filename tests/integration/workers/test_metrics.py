"""Metrics of a worker: deliveries by outcome, and values queried from its tables."""

import time
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.orm import Session

from celery_app import celery_app
from core.metrics import REJECTED, observe_external_call
from models.errors import LessonLocked, ProviderUnavailable
from tests.support.databases import Database
from tests.support.tasks import registered
from workers.runtime.metrics import DATABASE_METRICS, DatabaseMetric, DatabaseMetricCollector, instrumented

celery_app.loader.import_default_modules()  # registers the database metrics of all services


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def task_count(task: str, outcome: str) -> float:
    return count("coursebus_task_seconds_count", queue="progress", task=f"progress.{task}", outcome=outcome)


def succeed() -> None:
    return None


def locked() -> None:
    raise LessonLocked("x")


def without_provider() -> None:
    raise ProviderUnavailable("Stripe")


def crash() -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("function", "outcome"),
    [(succeed, "done"), (locked, "refused"), (without_provider, "unavailable"), (crash, "crashed")],
)
def test_task_is_counted_by_outcome(deliver, function, outcome: str):
    before = task_count(function.__name__, outcome)
    with registered(function):
        deliver(f"progress.{function.__name__}")

    assert task_count(function.__name__, outcome) == before + 1


def test_error_is_counted_by_code(deliver):
    labels = {"task": "progress.locked", "code": "lesson_locked"}
    before = count("coursebus_task_refusals_total", **labels)
    with registered(locked):
        deliver("progress.locked")

    assert count("coursebus_task_refusals_total", **labels) == before + 1


class Provider:
    account = "main"

    def fetch(self, number: int) -> int:
        if number < 0:
            raise ProviderUnavailable("Stripe")
        return number


def test_provider_calls_are_counted_by_outcome():
    provider = instrumented("shop", Provider())

    assert (provider.account, provider.fetch(3)) == ("main", 3)
    with pytest.raises(ProviderUnavailable):
        provider.fetch(-1)

    for outcome in ("ok", "provider_unavailable"):
        assert count("coursebus_external_call_seconds_count", to="shop", call="fetch", outcome=outcome) == 1


def test_refusal_without_an_exception_is_counted_as_its_outcome():
    with observe_external_call("shop", "refuse") as call:
        call.outcome = REJECTED

    assert count("coursebus_external_call_seconds_count", to="shop", call="refuse", outcome=REJECTED) == 1


@pytest.mark.parametrize(("service", "fact"), DATABASE_METRICS, ids=[each.name for _, each in DATABASE_METRICS])
def test_every_database_metric_is_readable_by_its_service(database: Database, service: str, fact: DatabaseMetric):
    metric = fact.metric(service)

    assert metric is not None
    assert metric.documentation


def test_slow_database_metric_is_queried_rarely(database: Database):
    results = []

    def query(session: Session) -> list[tuple[int]]:
        results.append(session.scalar(text("SELECT pg_sleep(0.1)")))
        return [(len(results),)]

    slow = DatabaseMetric("coursebus_slow", "", (), query)
    began = time.monotonic()
    values = [slow.metric("progress").samples[0].value for _ in range(3)]

    assert values == [1, 1, 1]
    assert slow._next_at - began > 10  # noqa: SLF001 queries take at most 1 % of the time


def times_out(queried_at: list[float]) -> Callable[[Session], list[tuple[int]]]:
    """Return a query that PostgreSQL cancels the first time."""

    def query(session: Session) -> list[tuple[int]]:
        queried_at.append(time.monotonic())
        if len(queried_at) == 1:
            session.execute(text("SET LOCAL statement_timeout = '100ms'"))
            session.execute(text("SELECT pg_sleep(1)"))
        return [(7,)]

    return query


def test_timed_out_metric_is_not_queried_at_each_scrape(database: Database):
    queried_at: list[float] = []
    fact = DatabaseMetric("coursebus_slow", "", (), times_out(queried_at))

    results = [fact.metric("progress") for _ in range(5)]

    assert (results, len(queried_at)) == ([None] * 5, 1)


def test_timed_out_metric_recovers_after_pause(database: Database):
    fact = DatabaseMetric("coursebus_slow", "", (), times_out([]))
    fact.metric("progress")
    fact._next_at = 0.0  # noqa: SLF001 the pause is over

    metric = fact.metric("progress")

    assert metric is not None
    assert (metric.samples[0].value, fact.unavailable) == (7, False)


def test_failed_metric_is_reported_and_hides_no_other(database: Database, monkeypatch):
    def broken(session: Session) -> list[tuple[int]]:
        session.execute(text("SELECT * FROM payments.orders"))  # the role of progress may not read it
        return []

    facts = [
        ("progress", DatabaseMetric("coursebus_broken", "", (), broken)),
        ("progress", DatabaseMetric("b", "", (), lambda _: [(7,)])),
    ]
    monkeypatch.setattr("workers.runtime.metrics.DATABASE_METRICS", facts)

    available, unavailable = DatabaseMetricCollector("progress").collect()

    assert available.name == "b"
    assert {sample.labels["metric"]: sample.value for sample in unavailable.samples} == {"coursebus_broken": 1, "b": 0}
