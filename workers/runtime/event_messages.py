"""Execution of a message with several events: their handlers run in one transaction.

Most of the cost of an event is that of its message and its transaction, which the events share. A handler that fails
rolls all of them back. The others then run together again, and after them the failed one on its own, with the
transaction and the reply of a single event.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any
from uuid import UUID

import msgspec
from celery import Task
from sqlalchemy.orm import Session

from celery_app import celery_app
from core.bus.inbox import HandlerEvent, claim_events
from core.fault_injection import crash_point
from core.log import CORRELATION_IDS, bind_context, get_logger
from core.messaging.event_messages import HANDLE_EVENTS, Delivery, ReceivedEvent
from core.messaging.task_queue import Envelope
from models.errors import TaskUnknown
from settings import SERVICES

from .execution import TaskExecution, failure, flush, run_after_commit, success
from .metrics import observe_ended
from .tasks import TASKS, BatchHandler, execute_message, ids_of, reject_envelope, span_of

log = get_logger(__name__)

MAX_FAILURES = 3  # failed handlers of one message, after which each event runs on its own


@dataclass(eq=False)
class EventExecution(TaskExecution):
    """The execution of one event of a message, in the transaction that all its events share."""

    event: Any = field(default=None, repr=False)
    session: Session | None = None
    waited_seconds: float = 0.0
    seconds: float = 0.0

    @cached_property
    def claimed_as(self) -> HandlerEvent:
        """Return the handler and the event id of the inbox row."""
        assert self.envelope.event_id is not None
        return self.task, UUID(self.envelope.event_id)

    @cached_property
    def ids(self) -> dict[str, Any]:
        """Return the ids for the log lines and the recorded events."""
        return {name: value for name, value in ids_of(self).items() if value is not None}

    @property
    def cause(self) -> dict[str, str]:
        """Return what ``correlation_ids`` returns while only this event is handled."""
        return {name: self.ids[name] for name in CORRELATION_IDS}

    def transaction(self) -> AbstractContextManager[Session]:  # type: ignore[override]
        """Return the shared transaction, which has claimed the event."""
        assert self.session is not None
        return nullcontext(self.session)


def execute_events(service: str, message_id: str, deliveries: Sequence[Delivery]) -> None:
    """Execute all events of a message and reply to each of them."""
    # Most handlers lock rows of the event's user. In one order, so that two messages do not deadlock.
    executions = [
        EventExecution(each.handler, each.task_id, each.envelope, event=each.event)
        for each in sorted(deliveries, key=_user_of)
    ]
    _refuse_unknown([execution for execution in executions if execution.task not in TASKS])
    remaining, failed = [execution for execution in executions if execution.task in TASKS], list[EventExecution]()
    while remaining and len(failed) < MAX_FAILURES:
        failing = _execute_together(service, message_id, remaining)
        failed += failing
        remaining = [execution for execution in remaining if execution not in failing] if failing else []
    # Last, because a handler may have failed after it waited for a lock, and would delay the others a second time.
    for execution in (*remaining, *failed):
        _execute_alone(execution)


def _execute_together(service: str, message_id: str, executions: Sequence[EventExecution]) -> Sequence[EventExecution]:
    """Execute the events in one transaction and reply.

    After an error nothing is committed. Returns the events that must then be executed alone: the one whose handler
    failed, or all after an error of the transaction; none if there was no error.
    """
    message = TaskExecution(f"{service}.{HANDLE_EVENTS}", message_id, Envelope())
    running: Sequence[EventExecution] = executions
    try:
        with message.transaction_without_claims() as session:
            claimed = claim_events(session, [execution.claimed_as for execution in executions])
            for running in _groups(executions):
                _execute(running, session, claimed)
            running = executions
            for execution in executions:
                crash_point("in the transaction", execution.task)
    except Exception as error:  # noqa: BLE001 the execution alone logs and answers it
        log.info("events are retried alone", tasks=[each.task for each in running], reason=type(error).__name__)
        return running
    for execution in executions:
        execution.has_new_events = message.has_new_events
        observe_ended(execution, execution.waited_seconds, execution.seconds, **execution.ids)
    run_after_commit(*executions)
    return []


def _groups(executions: Sequence[EventExecution]) -> Iterator[list[EventExecution]]:
    """Yield the executions that run together: consecutive ones of a batch handler, any other on its own."""
    for is_batch, group in groupby(executions, lambda execution: isinstance(TASKS[execution.task], BatchHandler)):
        if is_batch:
            yield from (list(each) for _, each in groupby(group, lambda execution: execution.task))
        else:
            yield from ([execution] for execution in group)


def _execute(group: list[EventExecution], session: Session, claimed: Collection[HandlerEvent]) -> None:
    for execution in group:
        execution.discard_hooks()  # of an attempt that was rolled back
        execution.session = session
        execution.waited_seconds = time.time() - execution.envelope.sent_at
        execution.response = {"result": None, "replayed": True}
    started_at = time.perf_counter()
    unhandled = [execution for execution in group if execution.claimed_as in claimed]
    for execution in group:
        crash_point("started", execution.task)
    if unhandled:
        with ExitStack() as contexts:
            for execution in reversed(unhandled):  # the ids that are bound are those of the first
                contexts.enter_context(bind_context(**execution.ids))
                contexts.enter_context(span_of(execution))
            _call_handler(unhandled)
            flush(session)
    # The next handler reads its rows again, as it would in a transaction of its own.
    session.expunge_all()
    for execution in group:
        execution.seconds = (time.perf_counter() - started_at) / len(group)


def _call_handler(group: list[EventExecution]) -> None:
    definition = TASKS[group[0].task]
    if not isinstance(definition, BatchHandler):
        [execution] = group
        execution.response = definition.execute(execution, {"event": execution.event})
        return
    events = []
    for execution in group:
        execution.reject_poison_message()
        envelope = execution.envelope
        headers = {"event_id": envelope.event_id, "event_headers": envelope.event_headers, "cause": execution.cause}
        events.append(msgspec.convert({"event": execution.event, **headers}, ReceivedEvent))
    definition.execute_batch(group[0], events)
    for execution in group:
        execution.response = success(None)


def _refuse_unknown(executions: Sequence[EventExecution]) -> None:
    """Reply that the handlers are unknown: the bridge is newer than this worker."""
    for execution in executions:
        execution.response = failure(TaskUnknown(execution.task))
    run_after_commit(*executions)


def _user_of(delivery: Delivery) -> str:
    return str(delivery.event.get("user_id", "")) if isinstance(delivery.event, dict) else ""


def _execute_alone(execution: EventExecution) -> None:
    alone = TaskExecution(execution.task, execution.task_id, execution.envelope)
    execute_message(TASKS[execution.task], alone, {"event": execution.event})


def _register(service: str) -> None:
    """Make ``<service>.handle_events`` a Celery task."""
    name = f"{service}.{HANDLE_EVENTS}"

    def run(self: Task, *, deliveries: list[Any], **_: Any) -> None:
        try:
            readable = msgspec.convert(deliveries, list[Delivery])
        except msgspec.ValidationError as error:
            reject_envelope(name, self.request.id, (self.request.headers or {}).get("envelope", {}), error)
        else:
            execute_events(service, self.request.id, readable)

    celery_app.task(run, name=name, bind=True)


for _service in SERVICES:
    _register(_service)
