"""After a deadlock or serialization failure the task is retried once, and providers are not called twice."""

import threading
import time
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.db import new_id
from core.redis import queue_redis
from models.commands import Ping
from models.errors import DomainError
from models.events import CourseCompleted
from tests.support.events import build_event
from tests.support.polling import run_concurrently
from tests.support.tasks import Notes, registered, write_note
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

LOCK = text("SELECT 1 FROM progress.notes WHERE note = :note FOR UPDATE")
CONFLICTS = {"deadlock": "40P01", "serialization failure": "40001"}


def conflict(session: Session, kind: str) -> None:
    """Make PostgreSQL raise a conflict."""
    session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '{CONFLICTS[kind]}'; END $$"))


class Conflicts:
    """The number of remaining conflicts, and of provider calls."""

    def __init__(self) -> None:
        self.left = 0
        self.called = 0


@pytest.fixture
def conflicts() -> Conflicts:
    return Conflicts()


@pytest.fixture(autouse=True)
def tasks(conflicts: Conflicts):
    barrier, met = threading.Barrier(2), set()

    def lock_both(session: Session, *, first: str, second: str) -> str:
        session.execute(LOCK, {"note": first})
        if first not in met:
            met.add(first)
            barrier.wait(5)  # only in the first attempts
        session.execute(LOCK, {"note": second})
        return "done"

    def collide(session: Session, enqueue_after_commit: EnqueueAfterCommit, *, kind: str) -> str:
        write_note(session, "tried")
        enqueue_after_commit(Ping(service="progress"))
        if conflicts.left:
            conflicts.left -= 1
            conflict(session, kind)
        return "done"

    def collide_on_event(session: Session, *, event: CourseCompleted) -> None:
        write_note(session, "tried")
        conflict(session, "deadlock")

    def check_out(transactions: Transactions, *, at: str) -> Any:
        with transactions.begin() as session:
            write_note(session, "persisted")
            if at == "first" and conflicts.left:
                conflicts.left -= 1
                conflict(session, "deadlock")
        conflicts.called += 1
        with transactions.begin() as session:
            if at == "last" and conflicts.left:
                conflicts.left -= 1
                conflict(session, "deadlock")
            return transactions.complete(session, "done")

    with registered(lock_both, collide, collide_on_event, check_out):
        yield


def test_deadlocked_task_is_retried_once(database, deliver, notes: Notes):
    for note in ("a", "b"):
        database.execute("INSERT INTO progress.notes (note) VALUES (:note)", note=note)

    replies = run_concurrently(
        lambda: deliver("progress.lock_both", {"first": "a", "second": "b"}),
        lambda: deliver("progress.lock_both", {"first": "b", "second": "a"}),
    )

    assert [reply.get("result") for reply in replies] == ["done", "done"]


@pytest.mark.parametrize("kind", CONFLICTS)
def test_single_conflict_is_retried_transparently(deliver, notes: Notes, conflicts: Conflicts, kind: str):
    conflicts.left = 1

    reply = deliver("progress.collide", {"kind": kind})

    assert (reply["result"], notes()) == ("done", ["tried"])


@pytest.mark.parametrize("kind", CONFLICTS)
def test_second_conflict_returns_503(deliver, notes: Notes, conflicts: Conflicts, kind: str):
    conflicts.left = 2

    error = DomainError.from_wire(deliver("progress.collide", {"kind": kind})["error"])

    assert (error.status, error.code, error.transient) == (503, "transaction_conflict", True)
    assert notes() == []


def test_hints_of_a_rolled_back_attempt_are_discarded(deliver, notes: Notes, conflicts: Conflicts):
    conflicts.left = 1

    deliver("progress.collide", {"kind": "deadlock"})

    assert queue_redis().llen("progress") == 1


def test_conflict_does_not_count_towards_poison(database, deliver, notes: Notes):
    event, event_id = build_event(CourseCompleted), new_id()

    replies = [deliver("progress.collide_on_event", {"event": event}, event_id=event_id) for _ in range(6)]

    assert all(reply["error"]["transient"] for reply in replies)


def test_multi_transaction_task_is_retried_before_first_commit(deliver, notes: Notes, conflicts: Conflicts):
    conflicts.left = 1

    reply = deliver("progress.check_out", {"at": "first"})

    assert (reply["result"], notes(), conflicts.called) == ("done", ["persisted"], 1)


def test_provider_is_not_called_twice_after_a_conflict(deliver, notes: Notes, conflicts: Conflicts):
    conflicts.left = 1
    claim = {"scope": "ann POST /v1/checkouts", "key": "1", "fingerprint": "f"}

    reply = deliver("progress.check_out", {"at": "last"}, claim=claim)

    assert (reply["error"]["name"], conflicts.called) == ("TransactionConflict", 1)
    began = time.monotonic()
    assert deliver("progress.check_out", {"at": "last"}, claim=claim, seconds_left=5)["result"] == "done"
    assert time.monotonic() - began < 2  # the key is released at once
