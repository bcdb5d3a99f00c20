"""Replacements of the dependencies that the worker injects into tasks."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from sqlalchemy.orm import Session

from core.commands import Command


class RecordedEnqueues(list):
    """Fake of the queue: records the commands of ``enqueue_after_commit(command)``."""

    def __call__(self, command: Command, _cause: object = None) -> None:
        self.append((command.task, msgspec.structs.asdict(command)))


class SavepointTransactions:
    """``Transactions`` as savepoints of the test's transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with self._session.begin_nested():
            yield self._session
