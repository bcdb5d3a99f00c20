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
from core.log import get_logger
from core.messaging.task_queue import Envelope, new_task_id
from core.metrics import WEBHOOK_SECONDS, WEBHOOKS_IN_FLIGHT
from models.integrations import Outcome, WebhookRequest, signatures
from workers.runtime import safe_http
from workers.runtime.dependencies import dependency
from workers.runtime.execution import TaskExecution
from workers.runtime.tasks import TASKS, execute_message

log = get_logger(__name__)

_SUCCESS_STATUSES = range(200, 300)
THREADS = 16  # threads mostly wait for receivers


class WebhookSender:
    """Sends deliveries while any are due. Its thread ends when none are left; ``wake`` starts it again."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="webhook")
        self._changed = threading.Condition()
        self._busy: Counter[UUID] = Counter()  # attempts under way, by endpoint
        self._running = False
        self._woken = False
        self._stopped = False

    def wake(self) -> None:
        """Start the sender, or make it look again, as deliveries may be due."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()
            if self._running or self._stopped:
                return
            self._running = True
        threading.Thread(target=self._loop, name="webhook-sender", daemon=True).start()

    def stop(self) -> None:
        """Start no more attempts."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the attempts in progress. Call ``stop`` before. Takes at most the timeout of one attempt."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)
        self._pool.shutdown()

    def _loop(self) -> None:
        while self._wait_for_work():
            for webhook in self._claim():
                with self._changed:
                    self._busy[webhook.endpoint_id] += 1
                    self._woken = True  # more deliveries may be due: claim again
                self._pool.submit(self._send_one, webhook)

    def _wait_for_work(self) -> bool:
        """Wait for a free thread and for a wake-up while attempts run. Return False if there is nothing to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._busy.total() < THREADS)
            self._changed.wait_for(lambda: self._stopped or self._woken or not self._busy.total())
            self._running = self._woken and not self._stopped
            self._woken = False
            self._changed.notify_all()
            return self._running

    def _claim(self) -> list[WebhookRequest]:
        with self._changed:
            busy = {str(endpoint_id): count for endpoint_id, count in self._busy.items() if count}
        claimed = _call_task("integrations.claim_deliveries", busy=busy, limit=THREADS - sum(busy.values()))
        return msgspec.convert(claimed or [], list[WebhookRequest])  # none on a database error; the sweep retries

    def _send_one(self, webhook: WebhookRequest) -> None:
        try:
            seconds = settings.WEBHOOK_TIMEOUT_SECONDS
            with WEBHOOKS_IN_FLIGHT.track_inprogress():
                outcome = post(webhook.url, webhook.event, secrets=webhook.secrets, timeout_seconds=seconds)
            WEBHOOK_SECONDS.labels(outcome_label(outcome)).observe(outcome.duration_ms / 1000)
            _call_task(
                "integrations.finish_attempt",
                endpoint_id=webhook.endpoint_id,
                delivery_id=webhook.delivery_id,
                attempt=webhook.attempt,
                outcome=msgspec.to_builtins(outcome),
            )
        finally:
            with self._changed:
                self._busy[webhook.endpoint_id] -= 1
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
    reply = safe_http.post(
        url, body, headers, timeout_seconds=timeout_seconds, loopback=settings.WEBHOOK_ALLOW_LOOPBACK
    )
    status_error = None if reply.status in _SUCCESS_STATUSES else f"status_{reply.status}"
    return Outcome(
        status_code=reply.status,
        error=reply.error or status_error,
        duration_ms=reply.duration_ms,
        retry_after_seconds=reply.retry_after_seconds,
    )


def outcome_label(outcome: Outcome) -> str:
    """Return the metric label of an outcome. Statuses are grouped by class, so that receivers cannot add series."""
    if outcome.is_success:
        return "delivered"
    if outcome.status_code:
        return f"status_{outcome.status_code // 100}xx"
    return outcome.error or "unreachable"


def _call_task(task: str, **message: Any) -> Any:
    """Run a task of this service in this thread; return its result, or None if it failed, which is logged."""
    execution = TaskExecution(task=task, task_id=new_task_id(), envelope=Envelope())
    execute_message(TASKS[task], execution, message)
    return execution.response.get("result")


_webhook_sender = WebhookSender()


@dependency
def webhook_sender(_execution: TaskExecution) -> Iterator[WebhookSender]:
    """Provide the webhook sender of this process."""
    yield _webhook_sender


@signals.worker_shutting_down.connect
def _stop_webhook_sender(**_: object) -> None:
    _webhook_sender.stop()


@signals.worker_shutdown.connect
def _join_webhook_sender(**_: object) -> None:
    _webhook_sender.join()
