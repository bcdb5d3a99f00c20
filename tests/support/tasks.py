"""Tasks and jobs that exist only in a test, with the queue and the database role of a real service."""

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
    """Write to no cache."""


class Killed(BaseException):
    """Simulates the death of a process: a ``BaseException`` that product code does not catch."""


@contextmanager
def registered(
    *functions: Callable[..., Any], as_call: Callable[..., TaskDefinition] = TaskDefinition, service: str = SERVICE
) -> Iterator[None]:
    """Register ``functions`` as tasks of ``service`` under their own names within the block."""
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
    """A table of SERVICE in which the tasks of a test record what they have done."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.execute(
            "CREATE TABLE IF NOT EXISTS progress.notes (seq bigint GENERATED ALWAYS AS IDENTITY, note text)"
        )

    def __call__(self) -> list[str]:
        """Return all committed notes, the oldest first."""
        return [note for (note,) in self._database.rows("SELECT note FROM progress.notes ORDER BY seq")]


def write_note(session: Session, note: str) -> None:
    """Insert a note in the transaction of the task."""
    session.execute(text("INSERT INTO progress.notes (note) VALUES (:note)"), {"note": note})
