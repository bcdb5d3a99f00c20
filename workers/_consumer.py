"""Celery consumer that publishes task events for Flower in batches and replies to messages of unknown tasks."""

from typing import Any

import msgspec
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Message

from celery_app import Envelope
from models.errors import TaskUnknown
from models.log import get_logger

from ._delivery import Delivery, failure

log = get_logger(__name__)

TELL_EVERY_SECONDS = 0.25


class Consumer(CeleryConsumer):
    """Consumer of every worker.

    Celery's own consumer publishes task events after each task, which takes a third of the time of its event loop.
    """

    _will_tell = False

    def on_send_event_buffered(self) -> None:
        """Schedule one publication of the buffered task events, unless one is scheduled."""
        if self.hub and not self._will_tell:
            self._will_tell = True
            self.hub.call_later(TELL_EVERY_SECONDS, self._tell)

    def _tell(self) -> None:
        self._will_tell = False
        self._flush_events()

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
        Delivery(task=name, task_id=task_id, envelope=envelope, answer=failure(TaskUnknown(name))).finish()
