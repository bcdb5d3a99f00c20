"""Dependencies that a task gets by naming them as parameters before the ``*``.

A dependency (resource) is a context manager that takes the task's Delivery and exits when the task has returned or
raised. A service adds its own with ``@resource``; the payment providers are an example (workers/payments/).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from sqlalchemy.orm import Session

import celery_app
from models.cache import Stored, put
from models.errors import DomainError
from models.log import bound_cause

from ._delivery import Delivery, Sessions

Resource = Callable[[Delivery], AbstractContextManager[Any]]
RESOURCES: dict[str, Resource] = {}

Poke = Callable[..., None]
Remember = Callable[[str, Stored | Callable[[], Stored]], None]
Lending = TypeVar("Lending", bound=Callable[[Delivery], Iterator[Any]])


def resource(fn: Lending) -> Lending:
    """Inject what ``fn`` yields into every task that has a parameter named like ``fn`` before its ``*``."""
    RESOURCES[fn.__name__] = contextmanager(fn)
    return fn


@resource
def session(delivery: Delivery) -> Iterator[Session]:
    """Inject a database session whose one transaction spans the whole task."""
    with delivery.transaction() as transaction:
        yield transaction


@resource
def sessions(delivery: Delivery) -> Iterator[Sessions]:
    """Inject Sessions, for tasks that call a provider: no transaction is open during the call."""
    lent = Sessions(delivery)
    try:
        yield lent
    except DomainError as error:
        lent.refuse(error)
        raise


@resource
def poke(delivery: Delivery) -> Iterator[Poke]:
    """``poke(task, **message)`` enqueues a task as a hint after the commit and the reply.

    The hint may be lost, so a sweep must find the work too.
    """
    cause = bound_cause()
    envelope = celery_app.Envelope(
        request_id=cause.get("request_id"),
        traceparent=cause.get("traceparent"),
        causation_id=cause.get("causation_id"),
    )

    def after_commit(task: str, **message: Any) -> None:
        delivery.after_reply.append(lambda: celery_app.send(task, message, envelope))

    yield after_commit


@resource
def remember(delivery: Delivery) -> Iterator[Remember]:
    """``remember(key, Stored(version, body))`` caches a response after the commit and before the reply.

    A newer version in the cache stays. A function in place of the ``Stored`` is called after the commit.
    """
    yield lambda key, stored: delivery.before_reply.append(lambda: put(key, stored() if callable(stored) else stored))
