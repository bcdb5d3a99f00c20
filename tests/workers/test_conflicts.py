"""Deadlocks and serialization failures: the task runs once more, and nothing is called twice."""

import threading
import time
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models.base import new_id
from models.errors import DomainError
from models.events import CourseCompleted
from models.redis import queue_redis
from tests.support.events import some
from tests.support.tasks import Notes, registered, write
from tests.support.waiting import at_once
from workers._delivery import Sessions

LOCK = text("SELECT 1 FROM progress.notes WHERE note = :note FOR UPDATE")
CONFLICTS = {"deadlock": "40P01", "serialization failure": "40001"}


def conflict(session: Session, kind: str) -> None:
    """Have PostgreSQL itself raise a conflict."""
    session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '{CONFLICTS[kind]}'; END $$"))


class Conflicts:
    """How many more attempts end in a conflict, and what the attempts called."""

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
            barrier.wait(5)  # the first attempts only
        session.execute(LOCK, {"note": second})
        return "done"

    def collide(session: Session, poke: Any, *, kind: str) -> str:
        write(session, "tried")
        poke("progress.ping")
        if conflicts.left:
            conflicts.left -= 1
            conflict(session, kind)
        return "done"

    def collide_on_event(session: Session, *, event: CourseCompleted) -> None:
        write(session, "tried")
        conflict(session, "deadlock")

    def check_out(sessions: Sessions, *, at: str) -> Any:
        with sessions.begin() as session:
            write(session, "promised")
            if at == "first" and conflicts.left:
                conflicts.left -= 1
                conflict(session, "deadlock")
        conflicts.called += 1
        with sessions.begin() as session:
            if at == "last" and conflicts.left:
                conflicts.left -= 1
                conflict(session, "deadlock")
            return sessions.answer(session, "done")

    with registered(lock_both, collide, collide_on_event, check_out):
        yield


def test_deadlocked_task_runs_once_more(database, deliver, notes: Notes):
    for note in ("a", "b"):
        database.execute("INSERT INTO progress.notes (note) VALUES (:note)", note=note)

    replies = at_once(
        lambda: deliver("progress.lock_both", {"first": "a", "second": "b"}),
        lambda: deliver("progress.lock_both", {"first": "b", "second": "a"}),
    )

    assert [reply.get("result") for reply in replies] == ["done", "done"]


@pytest.mark.parametrize("kind", CONFLICTS)
def test_one_conflict_is_not_seen_by_the_caller(deliver, notes: Notes, conflicts: Conflicts, kind: str):
    conflicts.left = 1

    reply = deliver("progress.collide", {"kind": kind})

    assert (reply["result"], notes()) == ("done", ["tried"])


@pytest.mark.parametrize("kind", CONFLICTS)
def test_second_conflict_is_unavailable(deliver, notes: Notes, conflicts: Conflicts, kind: str):
    conflicts.left = 2

    error = DomainError.from_wire(deliver("progress.collide", {"kind": kind})["error"])

    assert (error.status, error.code, error.transient) == (503, "transaction_conflict", True)
    assert notes() == []


def test_hints_of_a_rolled_back_attempt_are_discarded(deliver, notes: Notes, conflicts: Conflicts):
    conflicts.left = 1

    deliver("progress.collide", {"kind": "deadlock"})

    assert queue_redis().llen("progress") == 1


def test_conflict_does_not_count_towards_poison(database, deliver, notes: Notes):
    event, event_id = some(CourseCompleted), new_id()

    replies = [deliver("progress.collide_on_event", {"event": event}, event_id=event_id) for _ in range(6)]

    assert all(reply["error"]["transient"] for reply in replies)


def test_task_of_several_transactions_is_entered_again_before_its_first_commit(
    deliver, notes: Notes, conflicts: Conflicts
):
    conflicts.left = 1

    reply = deliver("progress.check_out", {"at": "first"})

    assert (reply["result"], notes(), conflicts.called) == ("done", ["promised"], 1)


def test_provider_is_not_called_twice_after_a_conflict(deliver, notes: Notes, conflicts: Conflicts):
    conflicts.left = 1
    claim = {"scope": "ann POST /v1/checkouts", "key": "1", "fingerprint": "f"}

    reply = deliver("progress.check_out", {"at": "last"}, claim=claim)

    assert (reply["error"]["name"], conflicts.called) == ("TransactionConflict", 1)
    began = time.monotonic()
    assert deliver("progress.check_out", {"at": "last"}, claim=claim, seconds_left=5)["result"] == "done"
    assert time.monotonic() - began < 2  # the key is free at once
