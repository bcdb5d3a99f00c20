"""One execution of a task for one message: its deadline, claims, transactions and answer.

The transaction of a task keeps the order of docs/decisions/0002: check the deadline, claim, run the task, store the
answer, check the deadline again, COMMIT. The reply, the hints and the acknowledgement of the message follow the commit.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import settings
from celery_app import Envelope
from models.base import LOCK_TIMEOUT_SECONDS, sessions
from models.deadletters import MAX_ATTEMPTS, count_attempt
from models.errors import (
    DomainError,
    IdempotencyKeyReused,
    OutcomeUnknown,
    RequestInProgress,
    TransactionConflict,
    Unavailable,
)
from models.faults import reach
from models.idempotency import Claim, claim_from, claim_key, release_key, store_answer
from models.inbox import first_delivery
from models.log import get_logger
from models.redis import RELAY_HINT, queue_redis
from models.staff_actions import StaffAction

log = get_logger(__name__)

Answer = TypeVar("Answer")

# HTTP statuses of permanent errors. They are stored as the answer to an idempotency key; any other error is not, so
# that a repetition of the command executes it again.
_LASTING_REFUSALS = {400, 402, 422}
_WITHOUT_DEADLINE_SECONDS = 30.0  # for event handlers and jobs, which are started again after a failure
_SET_TIMEOUTS = (
    "SELECT set_config('statement_timeout', %(statement)s, true), set_config('lock_timeout', %(lock)s, true)"
)
_STATEMENT_TIMEOUT, _LOCK_TIMEOUT = "57014", "55P03"  # SQLSTATE codes of PostgreSQL
_CONFLICTS = {"40P01", "40001"}  # SQLSTATE: deadlock, serialization failure
_REPLY_KEPT_SECONDS = 60  # longer than the gateway waits for a reply


class Repeated(Exception):
    """The message was processed before. ``args[0]`` is the stored answer."""


class Poisonous(Exception):
    """The event failed MAX_ATTEMPTS times and becomes a dead letter. ``args[0]`` is the number of attempts."""


@dataclass
class Delivery:
    """The execution of one message by one task. It ends with ``finish``, which sends the reply."""

    task: str
    task_id: str
    envelope: Envelope
    answer: dict[str, Any] = field(default_factory=dict)  # set when the task has returned, stored in its transaction
    # Hints: calls after the last commit. Each may be lost: sweeps find the work, cache entries expire.
    before_reply: list[Callable[[], object]] = field(default_factory=list)  # cache: read your own writes
    after_reply: list[Callable[[], object]] = field(default_factory=list)
    subject: dict[str, str] = field(default_factory=dict)  # ids in the message, for StaffAction
    recorded: bool = False  # an event was written to the outbox and committed: wake the relay
    commits: int = 0  # number of committed transactions

    @property
    def service(self) -> str:
        return self.task.partition(".")[0]

    @property
    def claim(self) -> Claim | None:
        return claim_from(self.envelope.claim)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline, 30 for a message without one. Raises OutcomeUnknown after it."""
        if self.envelope.expires_at is None:
            return _WITHOUT_DEADLINE_SECONDS
        left = self.envelope.expires_at - time.time()
        if left <= 0:
            raise OutcomeUnknown
        return left

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run the block as the one transaction of a task: claim, run, store the answer, COMMIT.

        If the block raises a permanent error and an idempotency key is claimed, the work of the block is rolled back
        and the error is committed as the answer before it is raised.
        """
        refusal: DomainError | None = None
        with self.plain_transaction() as session:
            self._claim_event(session)
            self.claim_key(session)
            try:
                # The savepoint lets a permanent error roll back the task's work without the claim.
                with session.begin_nested() if self.claim else nullcontext():
                    yield session
            except DomainError as error:
                if not self.claim or error.status not in _LASTING_REFUSALS:
                    raise
                refusal = error
                self.answer = failure(error)
            self.keep_answer(session)
        if refusal:
            raise refusal

    def claim_key(self, session: Session, *, lease_seconds: int | None = None) -> None:
        """Claim the idempotency key of the message, if it has one; wait for a concurrent duplicate until the deadline.

        ``lease_seconds`` lets another execution take the key over after that time. Raises Repeated if an answer is
        stored, RequestInProgress if the duplicate has not ended in time, IdempotencyKeyReused if the body differs.
        """
        try:
            answer = claim_key(session, self.claim, lease_seconds=lease_seconds) if self.claim else None
        except OperationalError as error:
            if _sqlstate(error) in {_LOCK_TIMEOUT, _STATEMENT_TIMEOUT}:
                raise RequestInProgress from error
            raise
        if answer:
            raise Repeated(answer)

    def keep_answer(self, session: Session) -> None:
        """Store the answer under the claimed idempotency key, in this transaction.

        For a successful command of a staff member, also add a StaffAction to the audit log.
        """
        if self.envelope.actor and "result" in self.answer:
            session.add(
                StaffAction.of(
                    self.task, actor=self.envelope.actor, subject=self.subject, request_id=self.envelope.request_id
                )
            )
        if self.claim:
            store_answer(session, self.claim, self.answer)

    @contextmanager
    def plain_transaction(self) -> Iterator[Session]:
        """Run the block in a transaction without claims, limited by the deadline of the message.

        Raises Unavailable after a lock timeout, OutcomeUnknown after the deadline, TransactionConflict after a deadlock
        or serialization failure.
        """
        try:
            with sessions(self.service).begin() as session:
                # Every transaction begins with this statement: by the driver, SQLAlchemy need not compile it.
                session.connection().exec_driver_sql(_SET_TIMEOUTS, self._timeouts())
                yield session
                session.flush()
                reach("in the transaction", self.task)
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
        self.recorded = self.recorded or "recorded" in session.info

    def _timeouts(self) -> dict[str, str]:
        left = self.seconds_left()
        # The lock timeout ends before the deadline, so that the error still reaches the caller in time.
        lock = max(left - 0.5, left / 2) if self.envelope.expires_at else LOCK_TIMEOUT_SECONDS
        return {"statement": _milliseconds(left), "lock": _milliseconds(lock)}

    def refuse_poison(self) -> None:
        """Count a repeated attempt at an event. Raises Poisonous after MAX_ATTEMPTS.

        The count is committed before the handler runs, so that an attempt that kills the worker counts too.
        """
        if self.envelope.event_id is None or self.envelope.attempt == 1:
            return
        event_id = UUID(self.envelope.event_id)
        with self.plain_transaction() as session:
            attempts = count_attempt(session, self.task, event_id)
            # An event that was processed is not poison; only its replies were lost. ``first_delivery`` waits for a
            # concurrent execution of the same event. The inbox row that it inserts is rolled back by the exception.
            if attempts >= MAX_ATTEMPTS and first_delivery(session, self.task, event_id):
                raise Poisonous(attempts)

    def _claim_event(self, session: Session) -> None:
        """Insert the event into the inbox of this handler. Raises Repeated if it is there."""
        if self.envelope.event_id and not first_delivery(session, self.task, UUID(self.envelope.event_id)):
            raise Repeated({"result": None})

    def finish(self) -> None:
        """Run the hints and send the reply.

        If Redis is down, they are lost: the client repeats its request, the bridge redelivers the event, and sweeps
        find the work of lost hints.
        """
        reach("after the commit", self.task)
        for hint in (*self.before_reply, self._reply, *self.after_reply):
            try:
                hint()
            except (RedisError, DomainError) as error:
                log.warning("hint lost", hint=getattr(hint, "__name__", "hint"), reason=str(error))
        reach("after the reply", self.task)

    def forget_hints(self) -> None:
        """Discard the hints of a transaction that was rolled back."""
        self.before_reply.clear()
        self.after_reply.clear()

    def _reply(self) -> None:
        """Send the answer to the caller's reply list and wake the relay, in one round trip."""
        with queue_redis().pipeline(transaction=False) as pipeline:
            if reply_to := self.envelope.reply_to:
                pipeline.rpush(reply_to, msgspec.json.encode({"task_id": self.task_id, **self.answer}))
                pipeline.expire(reply_to, _REPLY_KEPT_SECONDS)
            if self.recorded:
                pipeline.lpush(RELAY_HINT, 1)
                pipeline.ltrim(RELAY_HINT, 0, 0)
            pipeline.execute()


class Sessions:
    """Transactions of a task that calls a provider between them: ``with sessions.begin() as session``.

    The first transaction claims the idempotency key, if there is one, with a lease; ``answer`` stores the answer in the
    last one. If the worker is killed between them, the task runs again after the lease has expired, so the task must
    find and continue what it did before (docs/decisions/0008).
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._claimed = False

    @property
    def command_id(self) -> UUID:
        """Return an id that is the same for every execution of this command.

        With it a task finds the rows and provider objects that an interrupted execution created.
        """
        claim = self._delivery.claim
        if claim is None:
            return UUID(self._delivery.task_id)
        return uuid5(NAMESPACE_OID, f"{claim.scope}\n{claim.key}\n{claim.fingerprint}")

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Run the block in a transaction; the first one also claims the idempotency key.

        Raises what ``Delivery.claim_key`` and ``Delivery.plain_transaction`` raise.
        """
        with ExitStack() as stack:
            if self._delivery.claim and not self._claimed:
                yield self._begin_claimed(stack)
            else:
                yield stack.enter_context(self._delivery.plain_transaction())
        self._claimed = True  # only after the commit: a rollback removes the claim too

    def answer(self, session: Session, result: Answer) -> Answer:
        """Store ``result`` as the answer to the claimed key in this transaction and return it."""
        self._delivery.answer = success(result)
        self._delivery.keep_answer(session)
        return result

    def refuse(self, error: DomainError) -> None:
        """End a command that raised ``error``: store a permanent error as its answer, else release the key.

        Otherwise a repetition would wait until the lease of the ended command expires. An error in the first
        transaction rolled the claim back, so the key is claimed again together with the answer.
        """
        claim = self._delivery.claim
        lasting = error.status in _LASTING_REFUSALS
        if not claim or not (lasting or self._claimed):
            return
        with (
            suppress(Repeated, RequestInProgress, IdempotencyKeyReused),  # another request claimed the key first
            self._delivery.plain_transaction() as session,
        ):
            if not self._claimed:
                self._delivery.claim_key(session)
            if lasting:
                self._delivery.answer = failure(error)
                self._delivery.keep_answer(session)
            else:
                release_key(session, claim)

    def _begin_claimed(self, stack: ExitStack) -> Session:
        """Begin the first transaction and claim the key, until one second before the deadline at most."""
        # A concurrent duplicate stores its answer in its last transaction and holds no lock between its transactions,
        # so there is no lock to wait for: poll.
        while True:
            try:
                with ExitStack() as attempt:
                    session = attempt.enter_context(self._delivery.plain_transaction())
                    self._delivery.claim_key(session, lease_seconds=settings.CLAIM_LEASE_SECONDS)
                    stack.push(attempt.pop_all())
                    return session
            except RequestInProgress:
                if self._delivery.seconds_left() < 1:
                    raise
                time.sleep(0.1)


def success(result: Any) -> dict[str, Any]:
    """Return the answer of a task that returned ``result``, as JSON values."""
    return {"result": msgspec.to_builtins(result)}


def failure(error: DomainError) -> dict[str, Any]:
    """Return the answer of a task that raised ``error``; the gateway rebuilds the exception from it."""
    return {"error": error.to_wire()}


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000) + 1)  # rounded up, because PostgreSQL takes 0 as "no timeout"


def _sqlstate(error: OperationalError) -> str | None:
    return getattr(error.orig, "pgcode", None)
