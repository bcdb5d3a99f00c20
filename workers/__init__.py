"""The services. One module a service; its module, its queue and its tasks share one name.

``@task`` is the edge: in a task's signature, what stands before the ``*`` the worker lends (workers/resources.py); what
stands after it came over the queue, and its types are the schema of the message.
"""

import functools
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar, get_type_hints

import msgspec
from celery import Task

from celery_app import Envelope, celery_app
from models.errors import DomainError
from models.log import bound, get_logger

from ._delivery import Delivery, Repeated, failure, success
from .resources import RESOURCES

log = get_logger(__name__)


TaskFunction = TypeVar("TaskFunction", bound=Callable[..., Any])


def task(fn: TaskFunction) -> TaskFunction:
    """Register ``fn(resource, …, *, message field, …)`` as the task ``<service>.<fn>``.

    One call is one transaction: it commits when ``fn`` returns and rolls back when ``fn`` raises. Returns ``fn``
    unchanged, so that tests and other functions of the service call it plainly.
    """
    parameters = inspect.signature(fn).parameters.values()
    lent = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    taken = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    service = fn.__module__.split(".")[1]

    @functools.cache  # types named in annotations may be defined below the task
    def message_types() -> dict[str, Any]:
        return {name: kind for name, kind in get_type_hints(fn).items() if name in taken}

    @functools.wraps(fn)
    def run(self: Task, **message: Any) -> None:
        delivery = Delivery(task=self.name, task_id=self.request.id, envelope=_envelope(self))
        with bound(
            task=delivery.task,
            task_id=delivery.task_id,
            request_id=delivery.envelope.request_id,
            traceparent=delivery.envelope.traceparent,
            causation_id=delivery.envelope.event_id or delivery.task_id,
        ):
            typed = functools.partial(_typed, message_types(), message)
            _answer(delivery, lambda: _perform(fn, lent, delivery, typed()))

    celery_app.task(run, name=f"{service}.{fn.__name__}", bind=True)
    return fn


def _envelope(celery_task: Task) -> Envelope:
    headers: dict[str, Any] = celery_task.request.headers or {}
    return Envelope(**headers.get("envelope", {}))


def _typed(types: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    """The message with each field as its annotation says. Raises msgspec.ValidationError where it does not fit."""
    return {name: msgspec.convert(value, types[name], strict=False) for name, value in message.items()}


def _answer(delivery: Delivery, perform: Callable[[], dict[str, Any]]) -> None:
    """Carry the task out and say how it ended to whoever asked. An unexpected error crashes here, logged once."""
    try:
        delivery.answer = perform()
    except DomainError as error:
        delivery.answer = failure(error)
    except Exception as error:
        log.exception("task crashed")
        delivery.answer = {"crash": repr(error)}
        delivery.after_commit.clear()
    delivery.finish()


def _perform(fn: Callable[..., Any], lent: list[str], delivery: Delivery, message: dict[str, Any]) -> dict[str, Any]:
    try:
        with ExitStack() as stack:
            resources = [stack.enter_context(RESOURCES[name](delivery)) for name in lent]
            delivery.answer = success(fn(*resources, **message))
    except Repeated as repeated:
        return {**repeated.args[0], "replayed": True}
    return delivery.answer
