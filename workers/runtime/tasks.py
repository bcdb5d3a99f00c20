"""Registration and execution of tasks: message fields are converted, dependencies injected, the result answered."""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar, get_type_hints
from uuid import uuid4

import msgspec
from celery import Task
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

import models.commands  # noqa: F401 registers the commands of all tasks
from celery_app import celery_app
from core import tracing
from core.bus.staff_actions import uuid_fields
from core.commands import Command, ServiceCommand
from core.fault_injection import crash_point
from core.log import bind_context, correlation_ids, describe_error, get_logger, new_traceparent
from core.messaging.event_messages import ReceivedEvent
from core.messaging.task_queue import Envelope
from models.errors import DomainError, OutcomeUnknown, TransactionConflict
from settings import SERVICES

from .dependencies import DEPENDENCIES
from .execution import (
    AlreadyProcessed,
    PoisonMessage,
    TaskExecution,
    Transactions,
    failure,
    run_after_commit,
    success,
)
from .metrics import observe_execution

log = get_logger(__name__)

TaskFunction = TypeVar("TaskFunction", bound=Callable[..., Any])

TASKS: dict[str, "TaskDefinition"] = {}  # by task name


def task(fn: TaskFunction) -> TaskFunction:
    """Register ``fn(dependency, …, *, message field, …)`` as the task ``<service>.<fn>``.

    With a ``Session`` as dependency, one call is one transaction: it commits when ``fn`` returns and rolls back when
    ``fn`` raises. Returns ``fn`` unchanged, so that tests and other functions of the service can call it directly.

    Raises TypeError if the message fields differ from the command class of this task.
    """
    check_signature(fn, Command.by_task.get(task_name(fn)))
    register(task_name(fn), TaskDefinition(fn))
    return fn


def per_service_task(fn: TaskFunction) -> TaskFunction:
    """Register ``fn`` as a task of every service; each runs in the database of its service.

    Raises TypeError if the message fields differ from the command class of this task.
    """
    check_signature(fn, Command.by_task.get(f"{SERVICES[0]}.{fn.__name__}"))
    for service in SERVICES:
        register(f"{service}.{fn.__name__}", TaskDefinition(fn))
    return fn


def batch_handler(fn: TaskFunction) -> TaskFunction:
    """Register ``fn(dependency, …, *, events: list[ReceivedEvent])`` as the event handler ``<service>.<fn>``.

    One call handles all events that a message has for it, in their order. If it raises, each of them is handled alone.
    """
    register(task_name(fn), BatchHandler(fn))
    return fn


def task_name(fn: Callable[..., Any]) -> str:
    """Return ``<service>.<function>``; the service is the package below workers/ that defines ``fn``."""
    return f"{fn.__module__.split('.')[1]}.{fn.__name__}"


def check_signature(fn: Callable[..., Any], command: type[Command] | None) -> None:
    """Check that the message fields of ``fn`` have the names, types and defaults of the fields of ``command``.

    A task of every service may leave out the field ``service``. Raises TypeError.
    """
    if command is None:
        return
    types, parameters = get_type_hints(fn, include_extras=True), inspect.signature(fn).parameters.values()
    accepted = {each.name: (types[each.name], each.default) for each in parameters if each.kind is each.KEYWORD_ONLY}
    sent = {
        each.name: (each.type, inspect.Parameter.empty if each.required else each.default)
        for each in msgspec.structs.fields(command)
    }
    if issubclass(command, ServiceCommand) and "service" not in accepted:
        del sent["service"]
    if differing := sorted(name for name in accepted | sent if accepted.get(name) != sent.get(name)):
        raise TypeError(
            f"{fn.__module__}.{fn.__qualname__} and {command.__module__}.{command.__qualname__} differ in: "
            f"{', '.join(differing)}"
        )


class TaskDefinition:
    """Definition of a task: its function, the types of its dependencies and the fields of its message."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        parameters = inspect.signature(fn).parameters.values()
        self.fn = fn
        self._parameters = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        self.fields = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]

    @functools.cached_property  # not at import: an annotation may name a class defined later
    def types(self) -> dict[str, Any]:
        return get_type_hints(self.fn)

    @functools.cached_property
    def dependencies(self) -> list[Any]:
        """Return the types of the parameters before the ``*``. Raises TypeError if no dependency has such a type."""
        wanted = [self.types[name] for name in self._parameters]
        for name, type_ in zip(self._parameters, wanted, strict=True):
            if type_ not in DEPENDENCIES:
                raise TypeError(f"{self.fn.__module__}.{self.fn.__qualname__}: no dependency for {name}: {type_}")
        return wanted

    def convert(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the fields of ``message`` to their types. Raises ValidationError.

        Unknown fields are ignored, because the sender may be newer. A field that older senders omit needs a default in
        the signature.
        """
        given = [name for name in self.fields if name in message]
        return {name: msgspec.convert(message[name], self.types[name], strict=False) for name in given}

    def execute(self, execution: TaskExecution, message: dict[str, Any]) -> dict[str, Any]:
        """Inject the dependencies, call ``fn``, commit, and return the response.

        Raises what ``fn`` raises, PoisonMessage, and ValidationError for a message that does not fit the signature.
        After a deadlock or a serialization failure the task runs a second time, in a new transaction.
        """
        execution.reject_poison_message()
        for name in ("event_id", "event_headers", "event_version"):
            if name in self.fields:
                message = {**message, name: getattr(execution.envelope, name)}
        commits = execution.commits
        try:
            return self._attempt(execution, message)
        except TransactionConflict:
            if execution.commits > commits:
                raise  # It may have called a provider after the first commit: do not call it twice.
            execution.discard_hooks()
            return self._attempt(execution, message)

    def _attempt(self, execution: TaskExecution, message: dict[str, Any]) -> dict[str, Any]:
        typed = self.convert(message)
        if execution.envelope.actor:
            execution.subject = uuid_fields(message)
        try:
            with ExitStack() as stack:
                # Without a session of its own, the task still claims the key and is recorded in the audit log.
                needs_transaction = execution.claim or execution.envelope.actor
                if needs_transaction and not {Session, Transactions} & set(self.dependencies):
                    stack.enter_context(execution.transaction())
                execution.response = success(self._call(execution, stack, typed))
            if execution.envelope.actor and not execution.is_recorded and Transactions in self.dependencies:
                # A task that stored no response, because it needs no claim.
                with execution.transaction_without_claims() as session:
                    execution.record_action(session)
        except AlreadyProcessed as processed:
            return {**processed.args[0], "replayed": True}
        return execution.response

    def _call(self, execution: TaskExecution, stack: ExitStack, typed: dict[str, Any]) -> Any:
        return self.fn(*(stack.enter_context(DEPENDENCIES[type_](execution)) for type_ in self.dependencies), **typed)


class BatchHandler(TaskDefinition):
    """Definition of an event handler that handles all events of a message by one call.

    To the bridge it is like any other: an event that is sent alone is a batch of one.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__(fn)
        self.fields = ["event", "event_id", "event_headers"]

    @functools.cached_property
    def types(self) -> dict[str, Any]:
        return get_type_hints(ReceivedEvent) | get_type_hints(self.fn)

    def convert(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {"events": [msgspec.convert({**message, "cause": correlation_ids()}, ReceivedEvent, strict=False)]}

    def execute_batch(self, execution: TaskExecution, events: list[ReceivedEvent]) -> None:
        """Handle ``events`` in the transaction of ``execution``, which also gets the after-commit hooks."""
        with ExitStack() as stack:
            self._call(execution, stack, {"events": events})


def register(name: str, definition: TaskDefinition) -> None:
    """Make ``definition`` the Celery task ``name``."""

    def run(self: Task, **message: Any) -> None:
        raw: Any = (self.request.headers or {}).get("envelope", {})
        try:
            envelope = msgspec.convert(raw, Envelope)
        except msgspec.ValidationError as error:
            reject_envelope(name, self.request.id, raw, error)
        else:
            execute_message(definition, TaskExecution(task=name, task_id=self.request.id, envelope=envelope), message)

    TASKS[name] = definition
    celery_app.task(run, name=name, bind=True)


def execute_message(definition: TaskDefinition, execution: TaskExecution, message: dict[str, Any]) -> None:
    """Execute one message and reply to its caller. An unexpected error is logged here once and not raised."""
    with context_of(execution), span_of(execution) as span, observe_execution(execution):
        crash_point("started", execution.task)
        try:
            execution.response = definition.execute(execution, message)
        except DomainError as error:
            execution.response = failure(error)
            execution.discard_hooks()
        except PoisonMessage as poison:
            execution.response = {"poison": poison.args[0]}
        except Exception as error:  # noqa: BLE001 it is logged, and the caller needs a reply
            execution.response = _crash_response(error)
            execution.discard_hooks()
            span.fail(describe_error(error))
        run_after_commit(execution)


def context_of(execution: TaskExecution) -> AbstractContextManager[None]:
    """Add the ids of ``execution`` to the log lines, and to the headers of the events recorded, within the block."""
    return bind_context(**ids_of(execution))


def span_of(execution: TaskExecution) -> "tracing.Span | tracing.NoSpan":
    """Return the span of ``execution``; a task that no request or event has started begins a trace."""
    envelope = execution.envelope
    attributes = {"coursebus.task_id": execution.task_id, "coursebus.event_id": envelope.event_id}
    return tracing.span(execution.task, "consumer", parent=envelope.traceparent, attributes=attributes)


def ids_of(execution: TaskExecution) -> dict[str, Any]:
    """Return the ids that correlate the log lines and events of ``execution`` with their cause."""
    envelope = execution.envelope
    return {
        "task": execution.task,
        "task_id": execution.task_id,
        "sent_at": envelope.sent_at,
        # A job is not caused by a request: new ids correlate the events that it publishes.
        "request_id": envelope.request_id or uuid4().hex,
        "traceparent": envelope.traceparent or new_traceparent(),
        "actor": envelope.actor,
        "causation_id": envelope.event_id or envelope.causation_id or execution.task_id,
    }


def _crash_response(error: Exception) -> dict[str, Any]:
    """Return the response after an unexpected error: outcome unknown if the database was lost, otherwise a crash."""
    if isinstance(error, OperationalError | InterfaceError) and (error.connection_invalidated or not error.statement):
        # The connection was lost before, during or after the COMMIT: only a repetition can find out.
        log.warning("database lost", reason=str(error.orig))
        return failure(OutcomeUnknown())
    log.error("task crashed", exc_info=error)
    return {"crash": describe_error(error)}


def reject_envelope(name: str, task_id: str, raw: Any, error: msgspec.ValidationError) -> None:
    """Reply to a message with an invalid envelope, so that its caller does not wait until the deadline."""
    log.error("envelope not readable", task=name, task_id=task_id, reason=str(error))
    reply_to = raw.get("reply_to") if isinstance(raw, dict) else None
    envelope = Envelope(reply_to=reply_to if isinstance(reply_to, str) else None)
    response = {"crash": describe_error(error)}
    run_after_commit(TaskExecution(task=name, task_id=task_id, envelope=envelope, response=response))
