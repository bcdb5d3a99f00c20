"""Dead letters by HTTP: each service shows and replays its own, in the order of their key."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy.orm import Session

from models.base import new_id, now, sessions
from models.deadletters import DeadLetter, name_of
from models.events import CourseCompleted
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import some
from tests.support.tasks import Notes, registered, write

FAULTS: list[str] = []  # the titles that are not taken


def take(session: Session, *, event: CourseCompleted) -> None:
    if event.course_title in FAULTS:
        raise ValueError("a bug")
    write(session, event.course_title)


@pytest.fixture
def notes(database: Database) -> Iterator[Notes]:
    database.execute("DROP TABLE IF EXISTS progress.notes")
    with registered(take):
        yield Notes(database)
    FAULTS.clear()


def bury(title: str, *, key: str = "k", reason: str = "parked") -> str:
    """Returns the name of the letter."""
    letter = DeadLetter(
        handler="progress.take",
        event_id=new_id(),
        topic="progress",
        key=key,
        type="COURSE_COMPLETED",
        payload=msgspec.to_builtins(some(CourseCompleted, course_title=title)),
        headers={"ce_type": "COURSE_COMPLETED"},
        reason=reason,
        status="open",
        created_at=now(),
    )
    with sessions("progress").begin() as session:
        session.add(letter)
        session.flush()
        return name_of(letter)


def replay(name: str) -> dict[str, Any]:
    service, _, seq = name.partition("-")
    return deliver(f"{service}.replay_dead_letters", {"service": service, "seq": int(seq)})


def listed(service: str, **asked: Any) -> list[str]:
    message = {"service": service, "status": "open", "limit": 10, "after": 0, **asked}
    return [letter["id"] for letter in deliver(f"{service}.list_dead_letters", message)["result"]]


def test_a_service_lists_its_own(notes: Notes):
    names = [bury("one"), bury("two")]

    assert listed("progress") == names
    assert listed("progress", limit=1) == names[:1]
    assert listed("progress", after=int(names[0].partition("-")[2])) == names[1:]
    assert listed("payments") == []


def test_all_of_a_key_are_replayed_in_their_order_whichever_is_named(notes: Notes):
    names = [bury("one", reason="a bug"), bury("two"), bury("three")]
    other = bury("another's", key="other")
    reply = replay(names[1])

    assert reply["result"] == {"replayed": names, "failed": None, "left": 0}
    assert notes() == ["one", "two", "three"]
    assert listed("progress") == [other]
    assert replay(names[0])["error"]["name"] == "DeadLetterClosed"


def test_one_that_fails_again_keeps_the_later_ones_behind_it(notes: Notes):
    names = [bury("one"), bury("two"), bury("three")]
    FAULTS.append("two")
    reply = replay(names[0])["result"]

    assert (reply["replayed"], reply["failed"]["id"], reply["left"]) == (names[:1], names[1], 2)
    FAULTS.clear()
    assert replay(names[1])["result"]["replayed"] == names[1:]
    assert notes() == ["one", "two", "three"]


def test_what_was_done_meanwhile_is_not_done_twice(notes: Notes, database: Database):
    name = bury("one")
    [[event_id, payload]] = database.rows("SELECT event_id, payload FROM bus.dead_letters")
    deliver("progress.take", {"event": payload}, event_id=event_id)

    assert replay(name)["result"]["replayed"] == [name]
    assert notes() == ["one"]


def test_anothers_letter_is_not_found(notes: Notes):
    _, _, seq = bury("one").partition("-")

    assert replay(f"payments-{seq}")["error"]["name"] == "NotFound"
