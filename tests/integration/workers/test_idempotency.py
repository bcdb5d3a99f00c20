"""A command with an Idempotency-Key is executed once and always gets the same reply."""

import time
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.bus.idempotency import IdempotencyClaim, claim_key
from core.db import session_factory
from models.errors import CourseEmpty, InvalidContent, PaymentRefused
from tests.support.polling import run_concurrently
from tests.support.tasks import Killed, Notes, registered, write_note

REFUSALS = {
    "permanent": InvalidContent("video", "a URL"),
    "declined": PaymentRefused("card"),
    "transient": CourseEmpty("x"),
}


def note(session: Session, *, note: str, seconds: float = 0) -> dict[str, str]:
    write_note(session, note)
    time.sleep(seconds)
    return {"note": note, "id": str(uuid4())}


def return_ordered_fields(session: Session) -> dict[str, Any]:
    return {"id": "1", "amount_minor": 2, "a": {"currency": "USD", "zz": [1], "b": None}}


def return_lock_timeout(session: Session) -> str:
    return session.execute(text("SHOW lock_timeout")).scalar_one()


def refuse_at_first(session: Session, *, refusal: str) -> str:
    """Raise the error of ``refusal`` until the note "fine" exists."""
    allowed = session.execute(text("SELECT count(*) FROM progress.notes WHERE note = 'fine'")).scalar_one()
    write_note(session, "tried")
    if not allowed:
        raise REFUSALS[refusal]
    return "done"


def crash(session: Session) -> None:
    write_note(session, "tried")
    raise ValueError


def die(session: Session) -> None:
    write_note(session, "tried")
    raise Killed


@pytest.fixture(autouse=True)
def tasks():
    with registered(note, return_ordered_fields, return_lock_timeout, refuse_at_first, crash, die):
        yield


@pytest.fixture
def claim() -> dict[str, str]:
    return {"scope": "ann POST /v1/notes", "key": "1", "fingerprint": "as sent"}


def outcome(reply: dict[str, Any]) -> Any:
    return reply.get("result") or reply["error"]["name"]


def test_repeated_command_replays_result(deliver, notes: Notes, claim):
    first = deliver("progress.note", {"note": "once"}, claim=claim)
    repeat = deliver("progress.note", {"note": "once"}, claim=claim)

    assert notes() == ["once"]
    assert repeat["result"] == first["result"]
    assert ("replayed" in first, repeat["replayed"]) == (False, True)


def test_key_reused_with_other_body_is_rejected(deliver, notes: Notes, claim):
    deliver("progress.note", {"note": "once"}, claim=claim)
    other = deliver("progress.note", {"note": "other"}, claim=claim | {"fingerprint": "another"})

    assert outcome(other) == "IdempotencyKeyReused"
    assert notes() == ["once"]


def test_key_is_scoped_to_caller_and_route(deliver, notes: Notes, claim):
    deliver("progress.note", {"note": "ann's"}, claim=claim)
    deliver("progress.note", {"note": "bob's"}, claim=claim | {"scope": "bob POST /v1/notes"})

    assert notes() == ["ann's", "bob's"]


def test_concurrent_duplicates_wait_and_replay(deliver, notes: Notes, claim):
    send = lambda: deliver("progress.note", {"note": "once", "seconds": 0.3}, claim=claim, seconds_left=9)  # noqa: E731
    replies = run_concurrently(*[send] * 4)

    assert notes() == ["once"]
    assert len({reply["result"]["id"] for reply in replies}) == 1
    assert sum("replayed" in reply for reply in replies) == 3


def test_duplicate_times_out_while_first_is_running(deliver, notes: Notes, claim):
    with session_factory("progress").begin() as session:
        claim_key(session, IdempotencyClaim(**claim))
        began = time.monotonic()
        reply = deliver("progress.note", {"note": "duplicate"}, claim=claim, seconds_left=0.5)

    assert outcome(reply) == "RequestInProgress"
    assert 0.2 < time.monotonic() - began < 3
    assert notes() == []


def test_lock_timeout_follows_command_deadline(deliver, claim):
    """The lock timeout exceeds the default of the connection, but leaves time for the reply."""
    lock_timeout = deliver("progress.return_lock_timeout", claim=claim, seconds_left=9)["result"]

    assert 7000 < int(lock_timeout.removesuffix("ms")) <= 8500


@pytest.mark.parametrize("refusal", ["permanent", "declined"])
def test_permanent_error_is_stored_and_work_rolled_back(database, deliver, notes: Notes, claim, refusal):
    first = deliver("progress.refuse_at_first", {"refusal": refusal}, claim=claim)
    database.execute("INSERT INTO progress.notes (note) VALUES ('fine')")
    repeat = deliver("progress.refuse_at_first", {"refusal": refusal}, claim=claim)

    assert outcome(first) == outcome(repeat) == type(REFUSALS[refusal]).__name__
    assert repeat["replayed"]
    assert notes() == ["fine"]


def test_transient_error_is_retried(database, deliver, notes: Notes, claim):
    first = deliver("progress.refuse_at_first", {"refusal": "transient"}, claim=claim)
    database.execute("INSERT INTO progress.notes (note) VALUES ('fine')")
    repeat = deliver("progress.refuse_at_first", {"refusal": "transient"}, claim=claim)

    assert (outcome(first), outcome(repeat)) == ("CourseEmpty", "done")
    assert notes() == ["fine", "tried"]


def test_key_is_free_after_crash(database, deliver, notes: Notes, claim):
    assert "crash" in deliver("progress.crash", claim=claim)
    with pytest.raises(Killed):
        deliver("progress.die", claim=claim)

    assert database.count("bus.idempotency_keys") == 0
    assert deliver("progress.note", {"note": "now"}, claim=claim)["result"]["note"] == "now"


def test_replayed_result_keeps_field_order(deliver, claim, notes: Notes):
    first, repeat = (deliver("progress.return_ordered_fields", claim=claim) for _ in range(2))

    assert repeat["replayed"]
    assert msgspec.json.encode(repeat["result"]) == msgspec.json.encode(first["result"])
