"""Dead letters over HTTP: each service shows and replays its own, in key order."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy.orm import Session

from core.bus.dead_letters import DeadLetter, dead_letter_id
from core.db import new_id, session_factory, utc_now
from models.events import CourseCompleted
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event
from tests.support.tasks import Notes, registered, write_note

REJECTED_TITLES: list[str] = []  # titles that the handler refuses


def record_title(session: Session, *, event: CourseCompleted) -> None:
    if event.course_title in REJECTED_TITLES:
        raise ValueError("a bug")
    write_note(session, event.course_title)


@pytest.fixture
def notes(database: Database) -> Iterator[Notes]:
    database.execute("DROP TABLE IF EXISTS progress.notes")
    with registered(record_title):
        yield Notes(database)
    REJECTED_TITLES.clear()


def store_dead_letter(title: str, *, key: str = "k", reason: str = "parked") -> str:
    """Store a dead dead_letter; returns its public id."""
    dead_letter = DeadLetter(
        handler="progress.record_title",
        event_id=new_id(),
        topic="progress",
        key=key,
        type="COURSE_COMPLETED",
        payload=msgspec.to_builtins(build_event(CourseCompleted, course_title=title)),
        headers={"ce_type": "COURSE_COMPLETED"},
        reason=reason,
        status="open",
        created_at=utc_now(),
    )
    with session_factory("progress").begin() as session:
        session.add(dead_letter)
        session.flush()
        return dead_letter_id(dead_letter)


def replay(name: str) -> dict[str, Any]:
    service, _, seq = name.partition("-")
    return deliver(f"{service}.replay_dead_letters", {"service": service, "seq": int(seq)})


def list_dead_letter_ids(service: str, **filters: Any) -> list[str]:
    message = {"service": service, "status": "open", "limit": 10, "after": 0, **filters}
    return [dead_letter["id"] for dead_letter in deliver(f"{service}.list_dead_letters", message)["result"]]


def test_service_lists_own_dead_letters(notes: Notes):
    names = [store_dead_letter("one"), store_dead_letter("two")]

    assert list_dead_letter_ids("progress") == names
    assert list_dead_letter_ids("progress", limit=1) == names[:1]
    assert list_dead_letter_ids("progress", after=int(names[0].partition("-")[2])) == names[1:]
    assert list_dead_letter_ids("payments") == []


def test_replay_handles_whole_key_in_order(notes: Notes):
    names = [store_dead_letter("one", reason="a bug"), store_dead_letter("two"), store_dead_letter("three")]
    other = store_dead_letter("another's", key="other")
    reply = replay(names[1])

    assert reply["result"] == {"replayed": names, "failed": None, "remaining": 0}
    assert notes() == ["one", "two", "three"]
    assert list_dead_letter_ids("progress") == [other]
    assert replay(names[0])["error"]["name"] == "DeadLetterClosed"


def test_failed_replay_keeps_later_dead_letters_parked(notes: Notes):
    names = [store_dead_letter("one"), store_dead_letter("two"), store_dead_letter("three")]
    REJECTED_TITLES.append("two")
    reply = replay(names[0])["result"]

    assert (reply["replayed"], reply["failed"]["id"], reply["remaining"]) == (names[:1], names[1], 2)
    REJECTED_TITLES.clear()
    assert replay(names[1])["result"]["replayed"] == names[1:]
    assert notes() == ["one", "two", "three"]


def test_replay_skips_event_already_handled(notes: Notes, database: Database):
    name = store_dead_letter("one")
    [[event_id, payload]] = database.rows("SELECT event_id, payload FROM bus.dead_letters")
    deliver("progress.record_title", {"event": payload}, event_id=event_id)

    assert replay(name)["result"]["replayed"] == [name]
    assert notes() == ["one"]


def test_dead_letter_of_other_service_is_not_found(notes: Notes):
    _, _, seq = store_dead_letter("one").partition("-")

    assert replay(f"payments-{seq}")["error"]["name"] == "NotFound"
