"""Webhook sender: sends due deliveries in separate threads, so that slow receivers do not block tasks of this service.

Its state is in the database: deliveries are rows with a time-limited claim. If the process dies after sending and
before storing the outcome, the webhook is sent twice with the same id.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import msgspec
from celery import signals

import settings
from celery_app import Envelope, new_task_id
from models.integrations import Outcome, Parcel, signatures
from models.log import get_logger
from models.metrics import WEBHOOK_SECONDS, WEBHOOKS_UNDER_WAY
from workers import _outbound
from workers._delivery import Delivery
from workers._tasks import CALLS, deliver
from workers.resources import resource

log = get_logger(__name__)

_GOOD = range(200, 300)
THREADS = 16  # threads mostly wait for receivers


class Courier:
    """Sends deliveries while any are due. Its thread ends when none are left; ``wake`` starts it again."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="webhook")
        self._changed = threading.Condition()
        self._busy: Counter[UUID] = Counter()  # attempts under way, by endpoint
        self._at_work = False
        self._woken = False
        self._stopped = False

    def wake(self) -> None:
        """Start the sender, or make it look again, as deliveries may be due."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()
            if self._at_work or self._stopped:
                return
            self._at_work = True
        threading.Thread(target=self._work, name="courier", daemon=True).start()

    def stop(self) -> None:
        """Start no more attempts."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the attempts in progress. Call ``stop`` before. Takes at most the timeout of one attempt."""
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work)
        self._pool.shutdown()

    def _work(self) -> None:
        while self._go_on():
            for parcel in self._claim():
                with self._changed:
                    self._busy[parcel.endpoint_id] += 1
                    self._woken = True  # more deliveries may be due: claim again
                self._pool.submit(self._carry, parcel)

    def _go_on(self) -> bool:
        """Wait for a free thread and for a wake-up while attempts run. Return False if there is nothing to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._busy.total() < THREADS)
            self._changed.wait_for(lambda: self._stopped or self._woken or not self._busy.total())
            self._at_work = self._woken and not self._stopped
            self._woken = False
            self._changed.notify_all()
            return self._at_work

    def _claim(self) -> list[Parcel]:
        with self._changed:
            busy = {str(endpoint_id): count for endpoint_id, count in self._busy.items() if count}
        claimed = _run("integrations.claim_deliveries", busy=busy, limit=THREADS - sum(busy.values()))
        return msgspec.convert(claimed or [], list[Parcel])  # none on a database error; the sweep retries

    def _carry(self, parcel: Parcel) -> None:
        try:
            seconds = settings.WEBHOOK_TIMEOUT_SECONDS
            with WEBHOOKS_UNDER_WAY.track_inprogress():
                outcome = post(parcel.url, parcel.event, secrets=parcel.secrets, timeout_seconds=seconds)
            WEBHOOK_SECONDS.labels(kind_of(outcome)).observe(outcome.duration_ms / 1000)
            _run(
                "integrations.end_attempt",
                endpoint_id=parcel.endpoint_id,
                delivery_id=parcel.delivery_id,
                attempt=parcel.attempt,
                outcome=msgspec.to_builtins(outcome),
            )
        finally:
            with self._changed:
                self._busy[parcel.endpoint_id] -= 1
                self._woken = True
                self._changed.notify_all()


def post(url: str, event: dict[str, Any], *, secrets: Sequence[str], timeout_seconds: float) -> Outcome:
    """Send ``event`` to ``url`` once, signed by Standard Webhooks. The event's id is the ``webhook-id``."""
    body, timestamp = msgspec.json.encode(event), int(time.time())
    headers = {
        "Content-Type": "application/cloudevents+json",
        "User-Agent": "Coursebus-Webhooks/1",
        "webhook-id": event["id"],
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures(secrets, webhook_id=event["id"], timestamp=timestamp, body=body),
    }
    reply = _outbound.post(url, body, headers, timeout_seconds=timeout_seconds, loopback=settings.WEBHOOK_LOOPBACK)
    unfit = None if reply.status in _GOOD else f"status_{reply.status}"
    return Outcome(
        status_code=reply.status,
        error=reply.error or unfit,
        duration_ms=reply.duration_ms,
        retry_after_seconds=reply.retry_after_seconds,
    )


def kind_of(outcome: Outcome) -> str:
    """Return the metric label of an outcome. Statuses are grouped by class, so that receivers cannot add series."""
    if outcome.is_good:
        return "delivered"
    if outcome.status_code:
        return f"status_{outcome.status_code // 100}xx"
    return outcome.error or "unreachable"


def _run(task: str, **message: Any) -> Any:
    """Run a task of this service in this thread; return its result, or None if it failed, which is logged."""
    delivery = Delivery(task=task, task_id=new_task_id(), envelope=Envelope())
    deliver(CALLS[task], delivery, message)
    return delivery.answer.get("result")


_courier = Courier()


@resource
def courier(_delivery: Delivery) -> Iterator[Courier]:
    """Provide the webhook sender of this process."""
    yield _courier


@signals.worker_shutting_down.connect
def _stop_courier(**_: object) -> None:
    _courier.stop()


@signals.worker_shutdown.connect
def _join_courier(**_: object) -> None:
    _courier.join()
