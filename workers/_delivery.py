"""One delivery of a message to a task: its deadline, its claims, its transactions, its answer.

The order of a transaction is the promise of docs/decisions/0002: deadline, claims, the task's own work, the answer,
deadline again, COMMIT; only then the reply, the hints and the acknowledgement.
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

# Refusals that a repeat would meet again; the others may change, so a repeat is a new try.
_LASTING_REFUSALS = {400, 402, 422}
_WITHOUT_DEADLINE_SECONDS = 30.0  # an event's handler or a job: its holder sends it again
_SET_TIMEOUTS = (
    "SELECT set_config('statement_timeout', %(statement)s, true), set_config('lock_timeout', %(lock)s, true)"
)
_STATEMENT_TIMEOUT, _LOCK_TIMEOUT = "57014", "55P03"  # PostgreSQL's codes
_CONFLICTS = {"40P01", "40001"}  # deadlock, serialization failure
_REPLY_KEPT_SECONDS = 60  # whoever asked has gone by then


class Repeated(Exception):
    """The message was carried out before. ``args[0]`` is the answer given then."""


class Poisonous(Exception):
    """The event has failed too often, and is for people now. ``args[0]`` counts the attempts."""


@dataclass
class Delivery:
    task: str
    task_id: str
    envelope: Envelope
    answer: dict[str, Any] = field(default_factory=dict)  # set when the task has returned, stored with its commit
    # Hints, run after the last commit. Each may be lost: something durable stands behind it.
    before_reply: list[Callable[[], object]] = field(default_factory=list)  # what the asker will look at next
    after_reply: list[Callable[[], object]] = field(default_factory=list)
    subject: dict[str, str] = field(default_factory=dict)  # the ids that the message names
    recorded: bool = False  # an event was committed: the relay has something to do
    commits: int = 0  # transactions that are durable

    @property
    def service(self) -> str:
        return self.task.partition(".")[0]

    @property
    def claim(self) -> Claim | None:
        return claim_from(self.envelope.claim)

    def seconds_left(self) -> float:
        """Until nobody waits for the answer. Raises OutcomeUnknown when that has passed."""
        if self.envelope.expires_at is None:
            return _WITHOUT_DEADLINE_SECONDS
        left = self.envelope.expires_at - time.time()
        if left <= 0:
            raise OutcomeUnknown
        return left

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """The one transaction of a task: claims first, then the task, then its answer, then COMMIT."""
        refusal: DomainError | None = None
        with self.plain_transaction() as session:
            self._claim_event(session)
            self.claim_key(session)
            try:
                # A lasting refusal undoes the task's work and keeps the claim.
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
        """Claim the idempotency key, if there is one, waiting for a twin as long as somebody waits for us.

        Raises Repeated, RequestInProgress.
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
        """Store the answer with this transaction, for repeats of the claimed key, and who had the command done."""
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
        """A transaction within the deadline, without claims."""
        try:
            with sessions(self.service).begin() as session:
                # By the driver: no statement is compiled, and every transaction begins with this one.
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
        # Whoever waits for a lock gives up a little before the deadline, so that its answer still comes in time.
        lock = max(left - 0.5, left / 2) if self.envelope.expires_at else LOCK_TIMEOUT_SECONDS
        return {"statement": _milliseconds(left), "lock": _milliseconds(lock)}

    def refuse_poison(self) -> None:
        """Count an event that comes back, in a transaction of its own: an attempt that kills the worker counts too.

        Raises Poisonous after MAX_ATTEMPTS.
        """
        if self.envelope.event_id is None or self.envelope.attempt == 1:
            return
        event_id = UUID(self.envelope.event_id)
        with self.plain_transaction() as session:
            attempts = count_attempt(session, self.task, event_id)
            # Done, and its replies were lost: no poison. A twin that is still at it is waited for here, and what was
            # claimed for this question is rolled back.
            if attempts >= MAX_ATTEMPTS and first_delivery(session, self.task, event_id):
                raise Poisonous(attempts)

    def _claim_event(self, session: Session) -> None:
        if self.envelope.event_id and not first_delivery(session, self.task, UUID(self.envelope.event_id)):
            raise Repeated({"result": None})

    def finish(self) -> None:
        """Run the hints and reply. Redis may be away: the client repeats, the bridge sends again, sweepers look."""
        reach("after the commit", self.task)
        for hint in (*self.before_reply, self._reply, *self.after_reply):
            try:
                hint()
            except (RedisError, DomainError) as error:
                log.warning("hint lost", hint=getattr(hint, "__name__", "hint"), reason=str(error))
        reach("after the reply", self.task)

    def forget_hints(self) -> None:
        """What they speak of was rolled back."""
        self.before_reply.clear()
        self.after_reply.clear()

    def _reply(self) -> None:
        """Answer whoever asked and wake the relay, in one round trip."""
        with queue_redis().pipeline(transaction=False) as pipeline:
            if reply_to := self.envelope.reply_to:
                pipeline.rpush(reply_to, msgspec.json.encode({"task_id": self.task_id, **self.answer}))
                pipeline.expire(reply_to, _REPLY_KEPT_SECONDS)
            if self.recorded:
                pipeline.lpush(RELAY_HINT, 1)
                pipeline.ltrim(RELAY_HINT, 0, 0)
            pipeline.execute()


class Sessions:
    """For tasks that call out between transactions: ``with sessions.begin() as session``, as often as needed.

    The first transaction claims the event or the idempotency key and leases it; ``answer`` stores the answer in the
    last. A task cut off between them is entered again when the lease is over, so it is written to be entered again.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._claimed = False

    @property
    def command_id(self) -> UUID:
        """The same whenever this command is entered: by it a task finds what it has made before it was cut off."""
        claim = self._delivery.claim
        if claim is None:
            return UUID(self._delivery.task_id)
        return uuid5(NAMESPACE_OID, f"{claim.scope}\n{claim.key}\n{claim.fingerprint}")

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with ExitStack() as stack:
            if self._delivery.claim and not self._claimed:
                yield self._begin_claimed(stack)
            else:
                yield stack.enter_context(self._delivery.plain_transaction())
        self._claimed = True  # durable: a transaction that was rolled back took its claim along

    def answer(self, session: Session, result: Answer) -> Answer:
        """Store ``result`` as the answer to the claimed key with this transaction; returns it."""
        self._delivery.answer = success(result)
        self._delivery.keep_answer(session)
        return result

    def refuse(self, error: DomainError) -> None:
        """End a refused command: store a lasting refusal as its answer, release the key after any other refusal.

        Without this a repeat would wait for the lease of a command that has ended. A refusal in the first transaction
        took the claim back with it, so the claim is made again together with the answer.
        """
        claim = self._delivery.claim
        lasting = error.status in _LASTING_REFUSALS
        if not claim or not (lasting or self._claimed):
            return
        with (
            suppress(Repeated, RequestInProgress, IdempotencyKeyReused),  # another request has the key by now
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
        # The twin's answer arrives with its last transaction, which no lock announces: hence the short poll.
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
    """The answer of a task that returned ``result``, as JSON values."""
    return {"result": msgspec.to_builtins(result)}


def failure(error: DomainError) -> dict[str, Any]:
    """The answer of a task that raised ``error``, from which the gateway rebuilds it."""
    return {"error": error.to_wire()}


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000) + 1)  # 0 would mean: no limit


def _sqlstate(error: OperationalError) -> str | None:
    return getattr(error.orig, "pgcode", None)
