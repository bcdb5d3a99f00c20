"""Periodic tasks: beat sends hints (``celery_app.py``), and the ``jobs`` table decides which periods have to run."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.bus.jobs import LEASE, JobRun, count_failed_runs, last_successes, period_start
from core.db import utc_now
from core.log import describe_error, get_logger, scrub
from core.messaging.task_queue import Envelope
from models.errors import DomainError
from models.jobs import PERIODS_SECONDS
from settings import SERVICES

from .execution import TaskExecution
from .metrics import DATABASE_METRICS, DatabaseMetric, Rows
from .tasks import TASKS, TaskDefinition, register, task_name

log = get_logger(__name__)

JobFunction = TypeVar("JobFunction", bound=Callable[..., None])

_RENEW_EVERY_SECONDS = LEASE.total_seconds() / 4
_STARTED_AT = time.time()


def job(fn: JobFunction) -> JobFunction:
    """Register ``fn(dependency, …)`` as a job that runs once in each of its periods (``models/jobs.py``).

    A failed run is retried; after five attempts the period has failed for good. A run whose worker is killed before the
    success is stored runs again, so ``fn`` must be safe to repeat. A function with the keyword ``slot`` gets the start
    of its period, and a later period does not replace a failed one: transient errors are retried without a limit.
    """
    _register(task_name(fn), fn)
    return fn


def per_service_job(fn: JobFunction) -> JobFunction:
    """Register ``fn`` as a job of every service; each runs in the database of its service."""
    for service in SERVICES:
        _register(f"{service}.{fn.__name__}", fn)
    return fn


def _register(name: str, fn: Callable[..., None]) -> None:
    if name not in PERIODS_SECONDS:
        msg = f"the job {name} has no period in models/jobs.py"
        raise TypeError(msg)
    register(name, JobDefinition(fn, PERIODS_SECONDS[name]))


class JobDefinition(TaskDefinition):
    """Definition of a job: each period (slot) is executed by the worker that claims it."""

    def __init__(self, fn: Callable[..., None], every_seconds: int) -> None:
        super().__init__(fn)
        self.every_seconds = every_seconds

    @property
    def every_slot_counts(self) -> bool:
        """Whether each period has to succeed, rather than the latest one only."""
        return "slot" in self.fields

    def execute(self, execution: TaskExecution, message: dict[str, Any]) -> dict[str, Any]:
        """Claim the oldest due period, run the job and store the outcome; do nothing if no period is due."""
        with execution.transaction_without_claims() as session:
            run = JobRun.claim(session, execution.task, period_start(utc_now(), self.every_seconds))
        if run is None:
            return {"result": None}
        try:
            with _lease_renewed(run, execution):
                response = super().execute(execution, {**message, "slot": run.slot})
        except Exception as error:
            with execution.transaction_without_claims() as session:
                if self.every_slot_counts and isinstance(error, DomainError) and error.transient:
                    run.postpone(session, _reason(error))
                else:
                    run.fail(session, _reason(error))
            raise
        with execution.transaction_without_claims() as session:
            run.finish(session)
        return response


def _reason(error: Exception) -> str:
    """Return what ``bridge jobs list`` shows of an error, without the SQL and the values of a database error."""
    return scrub(str(error)) if isinstance(error, DomainError) else describe_error(error)


@contextmanager
def _lease_renewed(run: JobRun, execution: TaskExecution) -> Iterator[None]:
    """Renew the lease of ``run`` within the block, so that no other worker starts the slot while it runs."""
    ended = threading.Event()
    # A separate TaskExecution, because that of the job counts the job's transactions to decide on a retry.
    own = TaskExecution(task=execution.task, task_id=execution.task_id, envelope=Envelope())

    def renew() -> None:
        while not ended.wait(_RENEW_EVERY_SECONDS):
            try:
                with own.transaction_without_claims() as session:
                    run.renew(session)
            except (SQLAlchemyError, DomainError) as error:
                log.warning("lease not renewed", task=execution.task, reason=str(error))

    thread = threading.Thread(target=renew, name=f"lease {execution.task}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _jobs_of(service: str) -> dict[str, JobDefinition]:
    return {
        name: definition
        for name, definition in TASKS.items()
        if isinstance(definition, JobDefinition) and name.partition(".")[0] == service
    }


def _last_success(session: Session, *, service: str) -> Rows:
    # The period of a job that never succeeded counts from the start of this worker.
    found = last_successes(session, list(_jobs_of(service)))
    return [(kind, at.timestamp() if at else _STARTED_AT) for kind, at in found.items()]


def _periods(_session: Session, *, service: str) -> Rows:
    return [(name, definition.every_seconds) for name, definition in _jobs_of(service).items()]


def _given_up(session: Session, *, service: str) -> Rows:
    jobs = _jobs_of(service)
    every_slot_counts = [name for name, definition in jobs.items() if definition.every_slot_counts]
    return count_failed_runs(session, list(jobs), count_every_slot=every_slot_counts).items()


_JOB_METRICS: list[tuple[str, str, Callable[..., Rows]]] = [
    ("coursebus_job_last_success_timestamp_seconds", "Time at which a job last finished a period.", _last_success),
    ("coursebus_job_period_seconds", "Period of a job.", _periods),
    ("coursebus_jobs_given_up", "Periods for which a job failed permanently.", _given_up),
]
DATABASE_METRICS.extend(
    (service, DatabaseMetric(name, documentation, ("kind",), partial(query, service=service)))
    for service in SERVICES
    for name, documentation, query in _JOB_METRICS
)
