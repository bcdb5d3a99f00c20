"""One delivery of a message to a task: its deadline, its claims, its transactions, its answer.

The order of a transaction is the promise of ops/decisions/0002: deadline, claims, the task's own work, the answer,
deadline again, COMMIT; only then the reply, the hints and the acknowledgement.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from redis.exceptions import RedisError
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from celery_app import Envelope
from models.base import sessions
from models.deadletters import MAX_ATTEMPTS, count_attempt
from models.errors import DomainError, OutcomeUnknown, RequestInProgress
from models.idempotency import Claim, claim_key, store_answer
from models.inbox import InboxEvent, first_delivery
from models.log import get_logger
from models.redis import RELAY_HINT, queue_redis

log = get_logger(__name__)

# Refusals that a repeat would meet again; the others may change, so a repeat is a new try.
_LASTING_REFUSALS = {400, 402, 422}
_WITHOUT_DEADLINE_SECONDS = 30.0  # an event's handler or a job: its holder sends it again
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

    @property
    def service(self) -> str:
        return self.task.partition(".")[0]

    @property
    def claim(self) -> Claim | None:
        return Claim(**self.envelope.claim) if self.envelope.claim else None

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
            if self.claim and (answer := claim_key(session, self.claim)):
                raise Repeated(answer)
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

    def keep_answer(self, session: Session) -> None:
        """Store the answer with this transaction, for repeats of the claimed key."""
        if self.claim:
            store_answer(session, self.claim, self.answer)

    @contextmanager
    def plain_transaction(self) -> Iterator[Session]:
        """A transaction within the deadline, without claims."""
        with sessions(self.service).begin() as session:
            timeout_ms = int(self.seconds_left() * 1000) + 1
            session.execute(select(func.set_config("statement_timeout", str(timeout_ms), text("true"))))
            try:
                yield session
                session.flush()
            except OperationalError as error:
                if _waited_too_long(error):
                    raise RequestInProgress from error
                raise
            self.seconds_left()
        if session.info.get("recorded"):
            self.after_reply.append(_wake_relay)

    def refuse_poison(self) -> None:
        """Count an event that comes back, in a transaction of its own: an attempt that kills the worker counts too.

        Raises Poisonous after MAX_ATTEMPTS.
        """
        if self.envelope.event_id is None or self.envelope.attempt == 1:
            return
        event_id = UUID(self.envelope.event_id)
        with self.plain_transaction() as session:
            attempts = count_attempt(session, self.task, event_id)
            # Done, but its replies were lost: no poison.
            done = session.get(InboxEvent, (self.task, event_id)) is not None
        if attempts >= MAX_ATTEMPTS and not done:
            raise Poisonous(attempts)

    def _claim_event(self, session: Session) -> None:
        if self.envelope.event_id and not first_delivery(session, self.task, UUID(self.envelope.event_id)):
            raise Repeated({"result": None})

    def finish(self) -> None:
        """Run the hints and reply. Redis may be away: the client repeats, the bridge sends again, sweepers look."""
        reply = [self._reply] if self.envelope.reply_to else []
        for hint in (*self.before_reply, *reply, *self.after_reply):
            try:
                hint()
            except (RedisError, DomainError) as error:
                log.warning("hint lost", hint=getattr(hint, "__name__", "hint"), reason=str(error))

    def forget_hints(self) -> None:
        """What they speak of was rolled back."""
        self.before_reply.clear()
        self.after_reply.clear()

    def _reply(self) -> None:
        reply_to = self.envelope.reply_to
        assert reply_to is not None
        with queue_redis().pipeline(transaction=False) as pipeline:
            pipeline.rpush(reply_to, msgspec.json.encode({"task_id": self.task_id, **self.answer}))
            pipeline.expire(reply_to, _REPLY_KEPT_SECONDS)
            pipeline.execute()


class Sessions:
    """For tasks that call out between transactions: ``with sessions.begin() as session``, as often as needed.

    The first transaction claims the event or the idempotency key and leases it; ``answer`` stores the answer in the
    last. A task cut off between them is entered again when the lease is over, so it is written to be entered again.
    """

    LEASE_SECONDS = 30  # above what a provider call may take with its retries

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._claimed = False

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with ExitStack() as stack:
            if self._delivery.claim and not self._claimed:
                yield self._begin_claimed(stack, self._delivery.claim)
            else:
                yield stack.enter_context(self._delivery.plain_transaction())

    def answer(self, session: Session, result: Any) -> Any:
        """Store ``result`` as the answer to the claimed key with this transaction; returns it."""
        self._delivery.answer = success(result)
        self._delivery.keep_answer(session)
        return result

    def _begin_claimed(self, stack: ExitStack, claim: Claim) -> Session:
        # The twin's answer arrives with its last transaction, which no lock announces: hence the short poll.
        while True:
            try:
                with ExitStack() as attempt:
                    session = attempt.enter_context(self._delivery.plain_transaction())
                    if answer := claim_key(session, claim, lease_seconds=self.LEASE_SECONDS):
                        raise Repeated(answer)
                    self._claimed = True
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
    """The answer of a task that raised ``error``: class and args, from which the gateway rebuilds it."""
    return {"error": {"name": type(error).__name__, "args": [str(arg) for arg in error.args]}}


def _wake_relay() -> None:
    with queue_redis().pipeline(transaction=False) as pipeline:
        pipeline.lpush(RELAY_HINT, 1)
        pipeline.ltrim(RELAY_HINT, 0, 0)
        pipeline.execute()


def _waited_too_long(error: OperationalError) -> bool:
    # 57014: statement_timeout, 55P03: lock_timeout.
    return getattr(error.orig, "pgcode", None) in {"57014", "55P03"}
