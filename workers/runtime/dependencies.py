"""Dependencies that a task gets as parameters before the ``*``: the worker resolves them by their types.

A dependency is a context manager that takes the TaskExecution and exits when the task has returned or
raised. A service adds its own with ``@dependency``; the payment providers are an example (workers/payments/).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar, get_args, get_type_hints
from uuid import UUID

from sqlalchemy.orm import Session

from core.cache import CachedView, put_all
from core.commands import Command
from core.log import correlation_ids
from core.messaging import task_queue
from models.errors import DomainError

from .execution import TaskExecution, Transactions

Dependency = Callable[[TaskExecution], AbstractContextManager[Any]]
DEPENDENCIES: dict[Any, Dependency] = {}  # by the type that they yield

EnqueueAfterCommit = Callable[[Command], None]
CacheAfterCommit = Callable[[str, CachedView | Callable[[], CachedView]], None]
RecordPeople = Callable[[Iterable[UUID]], None]
Provided = TypeVar("Provided")


def dependency(
    fn: Callable[[TaskExecution], Iterator[Provided]],
) -> Callable[[TaskExecution], AbstractContextManager[Provided]]:
    """Inject what ``fn`` yields into every task that has a parameter of its type before the ``*``.

    ``fn`` is annotated with ``Iterator[the type]``. Returns a context manager, which other dependencies may enter.
    """
    [provided] = get_args(get_type_hints(fn)["return"])
    DEPENDENCIES[provided] = contextmanager(fn)
    return contextmanager(fn)


@dependency
def session(execution: TaskExecution) -> Iterator[Session]:
    """Inject a database session whose one transaction spans the whole task."""
    with execution.transaction() as transaction:
        yield transaction


@dependency
def transactions(execution: TaskExecution) -> Iterator[Transactions]:
    """Inject Transactions, for tasks that call a provider: no transaction is open during the call."""
    injected = Transactions(execution)
    try:
        yield injected
    except DomainError as error:
        injected.reject(error)
        raise


@dependency
def enqueue_after_commit(execution: TaskExecution) -> Iterator[EnqueueAfterCommit]:
    """``enqueue_after_commit(command)`` enqueues a command as a hint after the commit and the reply.

    The hint may be lost, so a sweep must find the work too.
    """
    cause = correlation_ids()
    envelope = task_queue.Envelope(
        request_id=cause.get("request_id"),
        traceparent=cause.get("traceparent"),
        causation_id=cause.get("causation_id"),
    )

    def enqueue(command: Command) -> None:
        execution.hooks_after_reply.append(lambda: task_queue.enqueue(command.task, command, envelope))

    yield enqueue


@dependency
def cache_after_commit(execution: TaskExecution) -> Iterator[CacheAfterCommit]:
    """``cache_after_commit(key, Stored(version, body))`` caches a response after the commit and before the reply.

    A newer version in the cache stays. A function in place of the ``CachedView`` is called after the commit.
    """
    entries = list[tuple[str, CachedView | Callable[[], CachedView]]]()

    def put_entries() -> None:
        put_all([(key, stored() if callable(stored) else stored) for key, stored in entries])

    def cache(key: str, stored: CachedView | Callable[[], CachedView]) -> None:
        if not entries:
            execution.hooks_before_reply.append(put_entries)
        entries.append((key, stored))

    yield cache


@dependency
def record_people(execution: TaskExecution) -> Iterator[RecordPeople]:
    """``record_people(user_ids)`` names the people that a query returns in its entry of the audit log."""

    def record(user_ids: Iterable[UUID]) -> None:
        execution.subject.update({f"user_{number}": str(each) for number, each in enumerate(user_ids, 1)})

    yield record
