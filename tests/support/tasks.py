"""Tasks and jobs that only a test knows, in the queue and with the grants of a real service."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from celery_app import celery_app
from tests.support.databases import Database
from workers.runtime.tasks import TASKS, TaskDefinition, register

SERVICE = "progress"


def noop_cache(*_: object) -> None:
    """A cache that nobody looks into."""


class Killed(BaseException):
    """Simulates the death of a process: a ``BaseException`` that product code does not catch."""


@contextmanager
def registered(
    *functions: Callable[..., Any], as_call: Callable[..., TaskDefinition] = TaskDefinition, service: str = SERVICE
) -> Iterator[None]:
    """Have ``functions`` as tasks of ``service``, under their own names."""
    names = [f"{service}.{function.__name__}" for function in functions]
    for name, function in zip(names, functions, strict=True):
        register(name, as_call(function))
    try:
        yield
    finally:
        for name in names:
            del TASKS[name]
            del celery_app.tasks[name]


class Notes:
    """A table of SERVICE for what a test's tasks have done."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.execute(
            "CREATE TABLE IF NOT EXISTS progress.notes (seq bigint GENERATED ALWAYS AS IDENTITY, note text)"
        )

    def __call__(self) -> list[str]:
        """All that is committed, the oldest first."""
        return [note for (note,) in self._database.rows("SELECT note FROM progress.notes ORDER BY seq")]


def write_note(session: Session, note: str) -> None:
    """Note it in the task's own transaction."""
    session.execute(text("INSERT INTO progress.notes (note) VALUES (:note)"), {"note": note})
