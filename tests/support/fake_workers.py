"""Fake workers, which execute the tasks of a queue like a worker's threads and can be made to fail."""

import base64
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import msgspec

from core.messaging.task_queue import Envelope
from core.redis import queue_redis
from tests.support.deliveries import run_task
from tests.support.tasks import Killed


class FakeWorkers:
    """Four threads that execute the tasks of the queue of ``service``. A thread continues after ``Killed``."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.runs: Counter[str] = Counter()  # handler runs by event id
        self.drop_messages = 0  # number of messages to pop and lose, as if the worker died before it started
        self.drop_replies = 0  # number of messages to execute without sending the reply
        self._pause_requested, self._stop_requested = threading.Event(), threading.Event()
        self._busy = [threading.Lock() for _ in range(4)]
        self._threads = [threading.Thread(target=self._work, args=[busy]) for busy in self._busy]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_requested.set()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop taking messages within the block."""
        self._pause_requested.set()
        for busy in self._busy:
            with busy:
                pass  # wait until the thread has finished its message
        try:
            yield
        finally:
            self._pause_requested.clear()

    def _work(self, busy: threading.Lock) -> None:
        while not self._stop_requested.wait(0.01 if self._pause_requested.is_set() else 0):
            with busy:
                if self._pause_requested.is_set():
                    continue
                if popped := queue_redis().brpop([self.service], timeout=0.1):
                    self._run_task(msgspec.json.decode(popped[1]))

    def _run_task(self, message: dict) -> None:
        headers = message["headers"]
        _args, fields, _options = msgspec.json.decode(base64.b64decode(message["body"]))
        envelopes = [headers["envelope"], *(each["envelope"] for each in fields.get("deliveries", []))]
        if self.drop_messages:
            self.drop_messages -= 1
            return
        if self.drop_replies:
            self.drop_replies -= 1
            for each in envelopes:
                each["reply_to"] = None
        self.runs.update(each["event_id"] for each in envelopes if each["event_id"])
        try:
            run_task(headers["task"], fields, Envelope(**headers["envelope"]), task_id=headers["id"])
        except Killed:
            return
