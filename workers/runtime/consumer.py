"""Celery consumer that publishes task events for Flower in batches and replies to messages of unknown tasks."""

from contextlib import suppress
from typing import Any

import msgspec
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Message

from core.log import get_logger
from core.messaging.task_queue import Envelope
from models.errors import TaskUnknown

from .execution import TaskExecution, failure, run_after_commit

log = get_logger(__name__)

EVENT_FLUSH_SECONDS = 1.0
EVENT_BUFFER_LIMIT = 300  # a full buffer is published at once; a task has three events


class Consumer(CeleryConsumer):
    """Consumer of every worker.

    Celery's own consumer publishes task events after each task, which takes a third of the time of its event loop.
    """

    _flush_scheduled = False

    def on_ready(self) -> None:
        """Let more events share a publication than Celery's 24, once the dispatcher exists."""
        super().on_ready()
        if self.event_dispatcher:
            self.event_dispatcher.buffer_limit = EVENT_BUFFER_LIMIT

    def on_send_event_buffered(self) -> None:
        """Schedule one publication of the buffered task events, unless one is scheduled."""
        if self.hub and not self._flush_scheduled:
            self._flush_scheduled = True
            self.hub.call_later(EVENT_FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        self._flush_events()

    def stop(self) -> None:
        """Publish the buffered events before the dispatcher is closed. Otherwise Flower would show tasks as started."""
        with suppress(*self.connection_errors):
            self._flush_events()
        super().stop()

    def on_unknown_task(self, _body: Any, message: Message, _error: Exception) -> None:
        """Reply with TaskUnknown (503). Celery only drops the message, and the caller would wait until its deadline.

        Such messages arrive while gateway and workers run different versions. The body is not logged, because it may
        contain personal data.
        """
        name, task_id = message.headers["task"], message.headers["id"]
        log.error("task unknown", task=name, task_id=task_id)
        message.reject_log_error(log, self.connection_errors)
        try:
            envelope = msgspec.convert(message.headers.get("envelope", {}), Envelope)
        except msgspec.ValidationError:
            return
        response = failure(TaskUnknown(name))
        run_after_commit(TaskExecution(task=name, task_id=task_id, envelope=envelope, response=response))
