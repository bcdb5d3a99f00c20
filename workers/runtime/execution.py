"""One execution of a task for one message: its deadline, claims, transactions and response.

The transaction of a task keeps the order of docs/decisions/0002: check the deadline, claim, run the task, store the
response, check the deadline again, COMMIT. The reply, the hints and the acknowledgement of the message follow the
commit.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec
from psycopg2.extensions import TRANSACTION_STATUS_INERROR
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import settings
from core.bus.changed_rows import Row, collect_changes
from core.bus.dead_letters import MAX_ATTEMPTS, count_attempt
from core.bus.idempotency import IdempotencyClaim, claim_from, claim_key, release_key, store_response
from core.bus.inbox import claim_event
from core.bus.staff_actions import CHANGE, READ, StaffAction
from core.db import LOCK_TIMEOUT_SECONDS, execute_later, session_factory
from core.fault_injection import crash_point
from core.log import get_logger
from core.messaging.task_queue import Envelope
from core.redis import RELAY_HINT, Command, queue_redis
from core.redis_commands import execute_all_once
from models.errors import (
    DomainError,
    IdempotencyKeyReused,
    OutcomeUnknown,
    RequestInProgress,
    TransactionConflict,
    Unavailable,
)

log = get_logger(__name__)

Result = TypeVar("Result")

# HTTP statuses of permanent errors. They are stored as the response to an idempotency key; any other error is not, so
# that a repetition of the command executes it again.
_PERMANENT_ERROR_STATUSES = {400, 402, 422}
_DEFAULT_TIMEOUT_SECONDS = 30.0  # for event handlers and jobs, which are started again after a failure
_SET_TIMEOUTS = "SET LOCAL statement_timeout = %(statement)s; SET LOCAL lock_timeout = %(lock)s"
_STATEMENT_TIMEOUT, _LOCK_TIMEOUT = "57014", "55P03"  # SQLSTATE codes of PostgreSQL
_CONFLICTS = {"40P01", "40001"}  # SQLSTATE: deadlock, serialization failure
_REPLY_TTL_SECONDS = 60  # longer than the gateway waits for a reply


class AlreadyProcessed(Exception):
    """The message was processed before. ``args[0]`` is the stored response."""


class TransactionAborted(Exception):
    """A task caught an error of the database without a savepoint and returned, so its transaction cannot commit."""


class PoisonMessage(Exception):
    """The event failed MAX_ATTEMPTS times and becomes a dead letter. ``args[0]`` is the number of attempts."""


@dataclass
class TaskExecution:
    """The execution of one message by one task. It ends with ``finish``, which sends the reply."""

    task: str
    task_id: str
    envelope: Envelope
    response: dict[str, Any] = field(default_factory=dict)  # set when the task has returned, stored in its transaction
    # Hooks: calls after the last commit. Each may be lost: sweeps find the work, cache entries expire.
    hooks_before_reply: list[Callable[[], object]] = field(default_factory=list)  # cache: read your own writes
    hooks_after_reply: list[Callable[[], object]] = field(default_factory=list)
    # For StaffAction: the ids in the message, and the rows that a command of a staff member has changed.
    subject: dict[str, str] = field(default_factory=dict)
    changes: list[Row] = field(default_factory=list)
    is_recorded: bool = False  # in the audit log
    has_new_events: bool = False  # an event was written to the outbox and committed: wake the relay
    commits: int = 0  # number of committed transactions

    @property
    def service(self) -> str:
        return self.task.partition(".")[0]

    @property
    def claim(self) -> IdempotencyClaim | None:
        return claim_from(self.envelope.idempotency_claim)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline, 30 for a message without one. Raises OutcomeUnknown after it."""
        if self.envelope.expires_at is None:
            return _DEFAULT_TIMEOUT_SECONDS
        left = self.envelope.expires_at - time.time()
        if left <= 0:
            raise OutcomeUnknown
        return left

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run the block as the one transaction of a task: claim, run, store the response, COMMIT.

        If the block raises a permanent error and an idempotency key is claimed, the work of the block is rolled back
        and the error is committed as the response before it is raised.
        """
        refusal: DomainError | None = None
        with self.transaction_without_claims() as session:
            self._claim_event(session)
            self.claim_idempotency_key(session)
            try:
                # The savepoint lets a permanent error roll back the task's work without the claim.
                with session.begin_nested() if self.claim else nullcontext():
                    yield session
            except DomainError as error:
                if not self.claim or error.status not in _PERMANENT_ERROR_STATUSES:
                    raise
                refusal = error
                self.response = failure(error)
            self.store_response(session)
        if refusal:
            raise refusal

    def claim_idempotency_key(self, session: Session, *, lease_seconds: int | None = None) -> None:
        """Claim the idempotency key of the message, if it has one; wait for a concurrent duplicate until the deadline.

        ``lease_seconds`` lets another execution take the key over after that time. Raises AlreadyProcessed if an
        response is stored, RequestInProgress if the duplicate has not ended in time, IdempotencyKeyReused if the body
        differs.
        """
        try:
            response = claim_key(session, self.claim, lease_seconds=lease_seconds) if self.claim else None
        except OperationalError as error:
            if _sqlstate(error) in {_LOCK_TIMEOUT, _STATEMENT_TIMEOUT}:
                raise RequestInProgress from error
            raise
        if response:
            raise AlreadyProcessed(response)

    def store_response(self, session: Session) -> None:
        """Store the response under the claimed idempotency key, in this transaction.

        A successful command or recorded read of a staff member is also added to the audit log.
        """
        if self.envelope.actor and "result" in self.response:
            self.record_action(session)
        if self.claim:
            store_response(session, self.claim, self.response)

    def record_action(self, session: Session) -> None:
        """Add this execution to the audit log, with the rows that it has changed."""
        assert self.envelope.actor is not None
        session.flush()  # collects the last changes
        action = StaffAction.create(
            self.task, actor=self.envelope.actor, subject=self.subject, request_id=self.envelope.request_id
        )
        action.kind = READ if self.envelope.is_recorded_read else CHANGE
        if self.changes:
            action.changes = self.changes
        session.add(action)
        self.is_recorded = True

    @contextmanager
    def transaction_without_claims(self) -> Iterator[Session]:
        """Run the block in a transaction without claims, limited by the deadline of the message.

        Raises Unavailable after a lock timeout, OutcomeUnknown after the deadline, TransactionConflict after a deadlock
        or serialization failure.
        """
        try:
            with session_factory(self.service).begin() as session:
                execute_later(session, _SET_TIMEOUTS, self._timeouts())
                if self.envelope.actor and not self.envelope.is_recorded_read:
                    collect_changes(session, self.changes)
                yield session
                flush(session)
                crash_point("in the transaction", self.task)
                self.seconds_left()
        except OperationalError as error:
            if _sqlstate(error) == _LOCK_TIMEOUT:
                raise Unavailable(f"The {self.service} service") from error
            if _sqlstate(error) == _STATEMENT_TIMEOUT:
                raise OutcomeUnknown from error
            if _sqlstate(error) in _CONFLICTS:
                log.info("transaction conflict", reason=str(error.orig))
                raise TransactionConflict(self.service) from error
            raise
        self.commits += 1
        self.has_new_events = self.has_new_events or "recorded" in session.info

    def _timeouts(self) -> dict[str, str]:
        left = self.seconds_left()
        # The lock timeout ends before the deadline, so that the error still reaches the caller in time.
        lock = max(left - 0.5, left / 2) if self.envelope.expires_at else LOCK_TIMEOUT_SECONDS
        return {"statement": _milliseconds(left), "lock": _milliseconds(lock)}

    def reject_poison_message(self) -> None:
        """Count a repeated attempt at an event. Raises PoisonMessage after MAX_ATTEMPTS.

        The count is committed before the handler runs, so that an attempt that kills the worker counts too.
        """
        if self.envelope.event_id is None or self.envelope.attempt == 1:
            return
        event_id = UUID(self.envelope.event_id)
        with self.transaction_without_claims() as session:
            attempts = count_attempt(session, self.task, event_id)
            # An event that was processed is not poison; only its replies were lost. ``claim_event`` waits for a
            # concurrent execution of the same event. The inbox row that it inserts is rolled back by the exception.
            if attempts >= MAX_ATTEMPTS and claim_event(session, self.task, event_id):
                raise PoisonMessage(attempts)

    def _claim_event(self, session: Session) -> None:
        """Insert the event into the inbox of this handler. Raises AlreadyProcessed if it is there."""
        if self.envelope.event_id and not claim_event(session, self.task, UUID(self.envelope.event_id)):
            raise AlreadyProcessed({"result": None})

    def discard_hooks(self) -> None:
        """Discard the after-commit hooks of a transaction that was rolled back."""
        self.hooks_before_reply.clear()
        self.hooks_after_reply.clear()
        self.changes.clear()
        self.is_recorded = False


def run_after_commit(*executions: TaskExecution) -> None:
    """Run the after-commit hooks of ``executions`` and send their replies.

    If Redis is down, they are lost: the client repeats its request, the bridge redelivers the event, and sweeps find
    the work of lost hints.
    """
    for execution in executions:
        crash_point("after the commit", execution.task)
    hooks = [hook for execution in executions for hook in execution.hooks_before_reply]
    hooks.append(partial(_send_replies, executions))
    hooks += [hook for execution in executions for hook in execution.hooks_after_reply]
    for hook in hooks:
        try:
            hook()
        except (RedisError, DomainError) as error:
            log.warning("after-commit hook failed", hook=getattr(hook, "__name__", "hook"), reason=str(error))
        except Exception:  # the work is committed, and other events of the message wait for their replies
            log.exception("after-commit hook failed", hook=getattr(hook, "__name__", "hook"))
    for execution in executions:
        crash_point("after the reply", execution.task)


def _send_replies(executions: Sequence[TaskExecution]) -> None:
    """Send each response to the reply list of its caller and wake the relay, in one round trip."""
    replies, commands = defaultdict[str, list[bytes]](list), list[Command]()
    for execution in executions:
        if reply_to := execution.envelope.reply_to:
            replies[reply_to].append(msgspec.json.encode({"task_id": execution.task_id, **execution.response}))
    for reply_to, encoded in replies.items():
        commands += [("RPUSH", reply_to, *encoded), ("EXPIRE", reply_to, _REPLY_TTL_SECONDS)]
    if any(execution.has_new_events for execution in executions):
        commands += [("LPUSH", RELAY_HINT, 1), ("LTRIM", RELAY_HINT, 0, 0)]
    if commands:
        execute_all_once(queue_redis(), commands)


class Transactions:
    """Transactions of a task that calls a provider between them: ``with transactions.begin() as session``.

    The first transaction claims the idempotency key, if there is one, with a lease; ``complete`` stores the response in
    the last one. If the worker is killed between them, the task runs again after the lease has expired, so the task
    must find and continue what it did before (docs/decisions/0008).
    """

    def __init__(self, execution: TaskExecution) -> None:
        self._execution = execution
        self._claimed = False

    @property
    def command_id(self) -> UUID:
        """Return an id that is the same for every execution of this command.

        With it a task finds the rows and provider objects that an interrupted execution created.
        """
        claim = self._execution.claim
        if claim is None:
            return UUID(self._execution.task_id)
        return uuid5(NAMESPACE_OID, f"{claim.scope}\n{claim.key}\n{claim.fingerprint}")

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Run the block in a transaction; the first one also claims the idempotency key.

        Raises what ``TaskExecution.claim_idempotency_key`` and ``TaskExecution.transaction_without_claims`` raise.
        """
        with ExitStack() as stack:
            if self._execution.claim and not self._claimed:
                yield self._begin_claimed(stack)
            else:
                yield stack.enter_context(self._execution.transaction_without_claims())
        self._claimed = True  # only after the commit: a rollback removes the claim too

    def complete(self, session: Session, result: Result) -> Result:
        """Store ``result`` as the response to the claimed key in this transaction and return it."""
        self._execution.response = success(result)
        self._execution.store_response(session)
        return result

    def reject(self, error: DomainError) -> None:
        """End a command that raised ``error``: store a permanent error as its response, else release the key.

        Otherwise a repetition would wait until the lease of the ended command expires. An error in the first
        transaction rolled the claim back, so the key is claimed again together with the response.
        """
        claim = self._execution.claim
        is_permanent = error.status in _PERMANENT_ERROR_STATUSES
        if not claim or not (is_permanent or self._claimed):
            return
        with (
            suppress(
                AlreadyProcessed, RequestInProgress, IdempotencyKeyReused
            ),  # another request claimed the key first
            self._execution.transaction_without_claims() as session,
        ):
            if not self._claimed:
                self._execution.claim_idempotency_key(session)
            if is_permanent:
                self._execution.response = failure(error)
                self._execution.store_response(session)
            else:
                release_key(session, claim)

    def _begin_claimed(self, stack: ExitStack) -> Session:
        """Begin the first transaction and claim the key, until one second before the deadline at most."""
        # A concurrent duplicate stores its response in its last transaction and holds no lock between its transactions,
        # so there is no lock to wait for: poll.
        while True:
            try:
                with ExitStack() as attempt:
                    session = attempt.enter_context(self._execution.transaction_without_claims())
                    self._execution.claim_idempotency_key(session, lease_seconds=settings.IDEMPOTENCY_LEASE_SECONDS)
                    stack.push(attempt.pop_all())
                    return session
            except RequestInProgress:
                if self._execution.seconds_left() < 1:
                    raise
                time.sleep(0.1)


def flush(session: Session) -> None:
    """Flush ``session``. Raises TransactionAborted if an error of the database was caught outside a savepoint.

    PostgreSQL answers the COMMIT of such a transaction with a ROLLBACK and no error, so it would look committed.
    """
    session.flush()
    connection: Any = session.connection().connection.dbapi_connection
    if connection.get_transaction_status() == TRANSACTION_STATUS_INERROR:
        raise TransactionAborted


def success(result: Any) -> dict[str, Any]:
    """Return the response of a task that returned ``result``, as JSON values."""
    return {"result": msgspec.to_builtins(result)}


def failure(error: DomainError) -> dict[str, Any]:
    """Return the response of a task that raised ``error``; the gateway rebuilds the exception from it."""
    return {"error": error.to_wire()}


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000) + 1)  # rounded up, because PostgreSQL takes 0 as "no timeout"


def _sqlstate(error: OperationalError) -> str | None:
    return getattr(error.orig, "pgcode", None)
