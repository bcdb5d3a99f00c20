"""Registration and execution of tasks: message fields are converted, dependencies injected, the result answered."""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar, get_type_hints
from uuid import uuid4

import msgspec
from celery import Task
from sqlalchemy.exc import InterfaceError, OperationalError

from celery_app import Envelope, celery_app
from models.errors import DomainError, OutcomeUnknown, TransactionConflict
from models.faults import reach
from models.log import bound, described, get_logger, new_traceparent
from models.staff_actions import subject_of
from settings import SERVICES

from ._delivery import Delivery, Poisonous, Repeated, failure, success
from ._metrics import measured
from .resources import RESOURCES

log = get_logger(__name__)

TaskFunction = TypeVar("TaskFunction", bound=Callable[..., Any])

CALLS: dict[str, "Call"] = {}  # by task name


def task(fn: TaskFunction) -> TaskFunction:
    """Register ``fn(dependency, …, *, message field, …)`` as the task ``<service>.<fn>``.

    With the dependency ``session``, one call is one transaction: it commits when ``fn`` returns and rolls back when
    ``fn`` raises. Returns ``fn`` unchanged, so that tests and other functions of the service can call it directly.
    """
    register(name_of(fn), Call(fn))
    return fn


def task_of_every_service(fn: TaskFunction) -> TaskFunction:
    """Register ``fn`` as a task of every service; each runs in the database of its service."""
    for service in SERVICES:
        register(f"{service}.{fn.__name__}", Call(fn))
    return fn


def name_of(fn: Callable[..., Any]) -> str:
    """Return ``<service>.<function>``; the service is the package below workers/ that defines ``fn``."""
    return f"{fn.__module__.split('.')[1]}.{fn.__name__}"


class Call:
    """Definition of a task: its function, its dependencies (``resources``) and the fields of its message."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        parameters = inspect.signature(fn).parameters.values()
        self.fn = fn
        self.resources = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        self.fields = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]

    @functools.cached_property  # not at import: an annotation may name a class defined later
    def types(self) -> dict[str, Any]:
        return get_type_hints(self.fn)

    def typed(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the fields of ``message`` to their types. Raises ValidationError.

        Unknown fields are ignored, because the sender may be newer. A field that older senders omit needs a default in
        the signature.
        """
        given = [name for name in self.fields if name in message]
        return {name: msgspec.convert(message[name], self.types[name], strict=False) for name in given}

    def perform(self, delivery: Delivery, message: dict[str, Any]) -> dict[str, Any]:
        """Inject the dependencies, call ``fn``, commit, and return the answer.

        Raises what ``fn`` raises, Poisonous, and ValidationError for a message that does not fit the signature. After a
        deadlock or a serialization failure the task runs a second time, in a new transaction.
        """
        delivery.refuse_poison()
        for name in ("event_id", "event_headers", "event_version"):
            if name in self.fields:
                message = {**message, name: getattr(delivery.envelope, name)}
        commits = delivery.commits
        try:
            return self._attempt(delivery, message)
        except TransactionConflict:
            if delivery.commits > commits:
                raise  # It may have called a provider after the first commit: do not call it twice.
            delivery.forget_hints()
            return self._attempt(delivery, message)

    def _attempt(self, delivery: Delivery, message: dict[str, Any]) -> dict[str, Any]:
        typed = self.typed(message)
        delivery.subject = subject_of(message)
        try:
            with ExitStack() as stack:
                if delivery.claim and not {"session", "sessions"} & set(self.resources):
                    stack.enter_context(delivery.transaction())  # claims the key
                lent = [stack.enter_context(RESOURCES[name](delivery)) for name in self.resources]
                delivery.answer = success(self.fn(*lent, **typed))
        except Repeated as repeated:
            return {**repeated.args[0], "replayed": True}
        return delivery.answer


def register(name: str, call: Call) -> None:
    """Make ``call`` the Celery task ``name``."""

    def run(self: Task, **message: Any) -> None:
        raw: Any = (self.request.headers or {}).get("envelope", {})
        try:
            envelope = msgspec.convert(raw, Envelope)
        except msgspec.ValidationError as error:
            _refuse_envelope(name, self.request.id, raw, error)
        else:
            deliver(call, Delivery(task=name, task_id=self.request.id, envelope=envelope), message)

    CALLS[name] = call
    celery_app.task(run, name=name, bind=True)


def deliver(call: Call, delivery: Delivery, message: dict[str, Any]) -> None:
    """Execute one message and reply to its caller. An unexpected error is logged here once and not raised."""
    with (
        bound(
            task=delivery.task,
            task_id=delivery.task_id,
            # A job is not caused by a request: new ids correlate the events that it publishes.
            request_id=delivery.envelope.request_id or uuid4().hex,
            traceparent=delivery.envelope.traceparent or new_traceparent(),
            actor=delivery.envelope.actor,
            causation_id=delivery.envelope.event_id or delivery.envelope.causation_id or delivery.task_id,
        ),
        measured(delivery),
    ):
        reach("begun", delivery.task)
        try:
            delivery.answer = call.perform(delivery, message)
        except DomainError as error:
            delivery.answer = failure(error)
            delivery.forget_hints()
        except Poisonous as poisonous:
            delivery.answer = {"poison": poisonous.args[0]}
        except Exception as error:  # noqa: BLE001 it is logged, and the caller needs a reply
            delivery.answer = _unexpected(error)
            delivery.forget_hints()
        delivery.finish()


def _unexpected(error: Exception) -> dict[str, Any]:
    """Return the answer after an unexpected error: outcome unknown if the database was lost, otherwise a crash."""
    if isinstance(error, OperationalError | InterfaceError) and (error.connection_invalidated or not error.statement):
        # The connection was lost before, during or after the COMMIT: only a repetition can find out.
        log.warning("database lost", reason=str(error.orig))
        return failure(OutcomeUnknown())
    log.error("task crashed", exc_info=error)
    return {"crash": described(error)}


def _refuse_envelope(name: str, task_id: str, raw: Any, error: msgspec.ValidationError) -> None:
    """Reply to a message with an invalid envelope, so that its caller does not wait until the deadline."""
    log.error("envelope not readable", task=name, task_id=task_id, reason=str(error))
    reply_to = raw.get("reply_to") if isinstance(raw, dict) else None
    envelope = Envelope(reply_to=reply_to if isinstance(reply_to, str) else None)
    Delivery(task=name, task_id=task_id, envelope=envelope, answer={"crash": described(error)}).finish()
