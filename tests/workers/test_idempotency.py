"""A command under an Idempotency-Key is done once, and answered the same each time."""

import time
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models.base import sessions
from models.errors import ContentUnfit, CourseEmpty, PaymentRefused
from models.idempotency import Claim, claim_key
from tests.support.tasks import Killed, Notes, registered, write
from tests.support.waiting import at_once

REFUSALS = {"lasting": ContentUnfit("video", "a URL"), "declined": PaymentRefused("card"), "passing": CourseEmpty("x")}


def note(session: Session, *, note: str, seconds: float = 0) -> dict[str, str]:
    write(session, note)
    time.sleep(seconds)
    return {"note": note, "id": str(uuid4())}


def tell_in_order(session: Session) -> dict[str, Any]:
    return {"id": "1", "amount_minor": 2, "a": {"currency": "USD", "zz": [1], "b": None}}


def tell_patience(session: Session) -> str:
    return session.execute(text("SHOW lock_timeout")).scalar_one()


def refuse_at_first(session: Session, *, refusal: str) -> str:
    """Refuses until somebody has noted that it is all right now."""
    fine = session.execute(text("SELECT count(*) FROM progress.notes WHERE note = 'fine'")).scalar_one()
    write(session, "tried")
    if not fine:
        raise REFUSALS[refusal]
    return "done"


def crash(session: Session) -> None:
    write(session, "tried")
    raise ValueError


def die(session: Session) -> None:
    write(session, "tried")
    raise Killed


@pytest.fixture(autouse=True)
def tasks():
    with registered(note, tell_in_order, tell_patience, refuse_at_first, crash, die):
        yield


@pytest.fixture
def claim() -> dict[str, str]:
    return {"scope": "ann POST /v1/notes", "key": "1", "fingerprint": "as sent"}


def answer(reply: dict[str, Any]) -> Any:
    return reply.get("result") or reply["error"]["name"]


def test_a_repeat_is_answered_as_the_first(deliver, notes: Notes, claim):
    first = deliver("progress.note", {"note": "once"}, claim=claim)
    repeat = deliver("progress.note", {"note": "once"}, claim=claim)

    assert notes() == ["once"]
    assert repeat["result"] == first["result"]
    assert ("replayed" in first, repeat["replayed"]) == (False, True)


def test_the_key_with_another_body_is_refused(deliver, notes: Notes, claim):
    deliver("progress.note", {"note": "once"}, claim=claim)
    other = deliver("progress.note", {"note": "other"}, claim=claim | {"fingerprint": "another"})

    assert answer(other) == "IdempotencyKeyReused"
    assert notes() == ["once"]


def test_a_key_belongs_to_its_caller_and_route(deliver, notes: Notes, claim):
    deliver("progress.note", {"note": "ann's"}, claim=claim)
    deliver("progress.note", {"note": "bob's"}, claim=claim | {"scope": "bob POST /v1/notes"})

    assert notes() == ["ann's", "bob's"]


def test_twins_wait_for_the_first_and_replay_it(deliver, notes: Notes, claim):
    send = lambda: deliver("progress.note", {"note": "once", "seconds": 0.3}, claim=claim, seconds_left=9)  # noqa: E731
    replies = at_once(*[send] * 4)

    assert notes() == ["once"]
    assert len({reply["result"]["id"] for reply in replies}) == 1
    assert sum("replayed" in reply for reply in replies) == 3


def test_a_twin_that_has_waited_in_vain_is_told_that_the_first_still_runs(deliver, notes: Notes, claim):
    with sessions("progress").begin() as session:
        claim_key(session, Claim(**claim))
        began = time.monotonic()
        reply = deliver("progress.note", {"note": "twin"}, claim=claim, seconds_left=0.5)

    assert answer(reply) == "RequestInProgress"
    assert 0.2 < time.monotonic() - began < 3
    assert notes() == []


def test_a_command_waits_for_locks_almost_until_its_deadline(deliver, claim):
    """Longer than the connection's own lock_timeout, and so that the answer still comes in time."""
    patience = deliver("progress.tell_patience", claim=claim, seconds_left=9)["result"]

    assert 7000 < int(patience.removesuffix("ms")) <= 8500


@pytest.mark.parametrize("refusal", ["lasting", "declined"])
def test_a_lasting_refusal_is_kept_and_its_work_undone(database, deliver, notes: Notes, claim, refusal):
    first = deliver("progress.refuse_at_first", {"refusal": refusal}, claim=claim)
    database.execute("INSERT INTO progress.notes (note) VALUES ('fine')")
    repeat = deliver("progress.refuse_at_first", {"refusal": refusal}, claim=claim)

    assert answer(first) == answer(repeat) == type(REFUSALS[refusal]).__name__
    assert repeat["replayed"]
    assert notes() == ["fine"]


def test_a_refusal_that_may_pass_is_tried_again(database, deliver, notes: Notes, claim):
    first = deliver("progress.refuse_at_first", {"refusal": "passing"}, claim=claim)
    database.execute("INSERT INTO progress.notes (note) VALUES ('fine')")
    repeat = deliver("progress.refuse_at_first", {"refusal": "passing"}, claim=claim)

    assert (answer(first), answer(repeat)) == ("CourseEmpty", "done")
    assert notes() == ["fine", "tried"]


def test_after_a_crash_or_a_kill_the_key_is_free(database, deliver, notes: Notes, claim):
    assert "crash" in deliver("progress.crash", claim=claim)
    with pytest.raises(Killed):
        deliver("progress.die", claim=claim)

    assert database.count("bus.idempotency_keys") == 0
    assert deliver("progress.note", {"note": "now"}, claim=claim)["result"]["note"] == "now"


def test_a_repeat_has_the_fields_in_the_order_of_the_first_answer(deliver, claim, notes: Notes):
    first, repeat = (deliver("progress.tell_in_order", claim=claim) for _ in range(2))

    assert repeat["replayed"]
    assert msgspec.json.encode(repeat["result"]) == msgspec.json.encode(first["result"])
