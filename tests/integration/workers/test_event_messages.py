"""The events of one message share a transaction; one that fails does not affect the others."""

from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from core.bus.inbox import InboxEvent
from core.bus.outbox import record
from core.db import new_id, utc_now
from core.messaging import task_queue
from core.messaging.event_messages import ReceivedEvent
from core.redis import queue_redis
from models.errors import ProjectionNotReady, Unavailable
from models.events import CourseCompleted
from tests.integration.bridge.kafka_probe import SampleAggregate
from tests.support.databases import Database
from tests.support.deliveries import deliver_together, run_task
from tests.support.events import build_event
from tests.support.tasks import Killed, Notes, registered, write_note
from workers.runtime.dependencies import CacheAfterCommit
from workers.runtime.tasks import BatchHandler

FAULTS: dict[str, list[BaseException]] = {}  # raised after the work of the handler, by the title of the course


def note(session: Session, *, event: CourseCompleted) -> None:
    write_note(session, event.course_title)
    if faults := FAULTS.get(event.course_title):
        raise faults.pop()


def note_batch(session: Session, *, events: list[ReceivedEvent]) -> None:
    titles = [received.event["course_title"] for received in events]
    write_note(session, " ".join(titles))
    for title in titles:
        if faults := FAULTS.get(title):
            raise faults.pop()


def note_transaction(session: Session, *, event: CourseCompleted) -> None:
    write_note(session, f"{event.course_title} {session.scalar(text('SELECT pg_current_xact_id()'))}")


def publish(session: Session, *, event: CourseCompleted) -> None:
    record(session, SampleAggregate(), event)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def tasks():
    with registered(note, note_transaction, publish):
        yield
    FAULTS.clear()


def events(*titles: str, handler: str = "note") -> list[tuple[str, UUID, CourseCompleted]]:
    return [(f"progress.{handler}", new_id(), build_event(CourseCompleted, course_title=title)) for title in titles]


def results(replies: list[dict[str, Any]]) -> list[Any]:
    return [reply["result"] for reply in replies]


def test_events_share_one_transaction(notes: Notes):
    assert results(deliver_together("progress", events("a", "b", "c", handler="note_transaction"))) == [None] * 3

    titles, transactions = zip(*map(str.split, notes()), strict=True)
    assert titles == ("a", "b", "c")
    assert len(set(transactions)) == 1


def test_events_of_several_users_are_handled_in_the_order_of_users(notes: Notes):
    """Two messages lock the rows of the same users in one order, so they do not deadlock."""
    users = sorted([new_id(), new_id(), new_id()], reverse=True)
    sent = [build_event(CourseCompleted, course_title=str(user), user_id=user) for user in users]
    deliver_together("progress", [("progress.note", new_id(), event) for event in sent])

    assert notes() == sorted(notes()) == sorted(map(str, users))


def test_each_event_keeps_its_cause(database: Database, notes: Notes):
    sent = events("a", "b", handler="publish")
    deliver_together("progress", sent)

    causes = database.rows("SELECT headers->>'causation_id', headers->>'traceparent' FROM bus.outbox ORDER BY seq")
    assert [cause for cause, _ in causes] == [str(event_id) for _, event_id, _ in sent]
    assert len({traceparent for _, traceparent in causes}) == 2


def test_redelivered_events_are_handled_once(notes: Notes):
    first, second = events("a", "b"), events("c")
    deliver_together("progress", first)
    replies = deliver_together("progress", [*first, *second])

    assert notes() == ["a", "b", "c"]
    assert [reply.get("replayed", False) for reply in replies] == [True, True, False]


@pytest.mark.parametrize("failing", ["b", "ac", "abcde"])
@pytest.mark.parametrize("fault", [ProjectionNotReady("outline", "x"), ValueError("a bug")], ids=repr)
def test_failed_handler_affects_only_its_own_event(notes: Notes, fault, failing):
    """It fails together with the others and on its own; then the event is sent again."""
    FAULTS.update({title: [fault, fault] for title in failing})
    sent = events("a", "b", "c", "d", "e")
    replies = deliver_together("progress", sent)

    assert sorted(notes()) == sorted(set("abcde") - set(failing))
    assert {title for title, reply in zip("abcde", replies, strict=True) if "result" not in reply} == set(failing)
    assert results(deliver_together("progress", sent)) == [None] * 5
    assert sorted(notes()) == ["a", "b", "c", "d", "e"]


def test_batch_handler_gets_the_new_events_of_a_message_at_once(notes: Notes):
    with registered(note_batch, as_call=BatchHandler):
        known, new = events("b", handler="note_batch"), events("a", "c", handler="note_batch")
        deliver_together("progress", known, [{}])
        replies = deliver_together("progress", [new[0], *known, new[1], *events("d")], [{}] * 4)

    assert [reply.get("replayed", False) for reply in replies] == [False, True, False, False]
    assert notes() == ["b", "a c", "d"]


def test_events_of_a_failed_batch_are_handled_alone(notes: Notes):
    with registered(note_batch, as_call=BatchHandler):
        sent = events("a", "b", "c", handler="note_batch")
        FAULTS["b"] = [ValueError("a bug"), ValueError("a bug")]
        replies = deliver_together("progress", [*sent, *events("d")], [{}] * 4)

    assert ["result" in reply for reply in replies] == [True, False, True, True]
    assert sorted(notes()) == ["a", "c", "d"]


def test_caught_database_error_affects_only_its_own_event(notes: Notes):
    """PostgreSQL answers the COMMIT of an aborted transaction with a ROLLBACK, and the driver raises nothing."""

    def catch(session: Session, *, event: CourseCompleted) -> None:
        with suppress(ProgrammingError):
            session.execute(text("SELECT * FROM missing"))

    with registered(catch):
        handled, failed = deliver_together("progress", [*events("a"), *events("b", handler="catch")])

    assert (handled.get("result", "none"), notes()) == (None, ["a"])
    assert "TransactionAborted" in str(failed["crash"])


def test_failed_handler_delays_the_others_once(notes: Notes):
    """Such as one that has waited for a lock."""
    seen: list[list[str]] = []

    def fail(session: Session, *, event: CourseCompleted) -> None:
        seen.append(notes())
        raise Unavailable("x")

    with registered(fail):
        deliver_together("progress", [*events("a", handler="fail"), *events("b")])

    assert seen == [[], ["b"]]


def test_failed_hook_does_not_cost_the_replies(notes: Notes):
    def hooked(session: Session, cache_after_commit: CacheAfterCommit, *, event: CourseCompleted) -> None:
        cache_after_commit("x", partial(int, "no number"))  # type: ignore[arg-type]

    with registered(hooked):
        replies = deliver_together("progress", [*events("a", handler="hooked"), *events("b")])

    assert (results(replies), notes()) == ([None] * 2, ["b"])


def test_killed_worker_leaves_nothing_of_the_message(notes: Notes):
    FAULTS["b"] = [Killed()]
    sent = events("a", "b", "c")
    with pytest.raises(Killed):
        deliver_together("progress", sent)
    assert notes() == []

    assert results(deliver_together("progress", sent)) == [None] * 3
    assert sorted(notes()) == ["a", "b", "c"]


def test_handler_reads_what_others_have_committed(database: Database, notes: Notes):
    """As in a transaction of its own: no row that an earlier handler of the message has read is reused."""
    row_id, rows, seen = new_id(), [], []  # the session forgets rows that nothing else refers to
    database.execute(
        "INSERT INTO bus.inbox (handler, event_id, handled_at) VALUES ('x', :id, :at)", id=row_id, at=utc_now()
    )

    def read(session: Session, *, event: CourseCompleted) -> None:
        rows.append(session.get_one(InboxEvent, ("x", row_id)))
        seen.append(rows[-1].handled_at)
        database.execute("UPDATE bus.inbox SET handled_at = handled_at + interval '1 day' WHERE handler = 'x'")

    with registered(read):
        assert results(deliver_together("progress", events("a", "b", handler="read"))) == [None] * 2
    assert (seen[1] - seen[0]).days == 1


def test_event_without_handler_is_refused_and_the_others_are_handled(notes: Notes):
    """The bridge is newer than the worker."""
    [refused, handled] = deliver_together("progress", [*events("a", handler="handler_of_tomorrow"), *events("b")])

    assert refused["error"]["name"] == "TaskUnknown"
    assert (handled["result"], notes()) == (None, ["b"])


def test_unreadable_message_is_answered(notes: Notes):
    envelope = task_queue.Envelope(reply_to="reply:unreadable")
    run_task("progress.handle_events", {"deliveries": [{"handler": "progress.note"}]}, envelope, task_id="message")

    [reply] = queue_redis().lrange("reply:unreadable", 0, -1)
    queue_redis().delete("reply:unreadable")
    assert b'"task_id":"message"' in reply
    assert b'"crash"' in reply
