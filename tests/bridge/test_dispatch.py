"""What the dispatcher does with replies, lost messages and backlogs. The test stands for the worker."""

import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import msgspec
import pytest

import settings
from bridge import dispatch
from bridge.deadletters import DeadLetters
from bridge.dispatch import Dispatcher
from bridge.lanes import Record
from models.base import new_id, now
from models.errors import ProjectionBehind
from models.redis import queue_redis
from tests.support.databases import Database
from tests.support.waiting import eventually, never

SERVICE, HANDLER = "progress", "progress.take"


class Worker:
    """Takes messages off the queue and answers them."""

    def take(self) -> dict[str, Any]:
        """Return the headers of the next message."""
        message = eventually(lambda: queue_redis().rpop(SERVICE), "a message", seconds=10)
        headers: dict[str, Any] = msgspec.json.decode(message)["headers"]
        return headers

    def reply(self, headers: dict[str, Any], **outcome: Any) -> None:
        self.reply_raw(headers, msgspec.json.encode({"task_id": headers["id"], **outcome}))

    def reply_raw(self, headers: dict[str, Any], reply: bytes) -> None:
        queue_redis().rpush(headers["envelope"]["reply_to"], reply)

    def waiting(self) -> int:
        return int(queue_redis().llen(SERVICE))


class Done:
    """Notes which records were finished."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def __call__(self, record: Record) -> Callable[[], None]:
        return lambda: self.offsets.append(record.offset)


@pytest.fixture
def worker(database: Database) -> Iterator[Worker]:
    queue_redis().delete(f"unacked:{SERVICE}")
    yield Worker()
    queue_redis().delete(f"unacked:{SERVICE}", SERVICE)


@pytest.fixture
def done() -> Done:
    return Done()


@pytest.fixture
def dispatcher(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dispatcher]:
    monkeypatch.setattr(dispatch, "UNANSWERED_SECONDS", 0.3)
    monkeypatch.setattr(dispatch, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(dispatch, "HELD_SECONDS", 0.3)
    monkeypatch.setattr(dispatch, "LONGEST_WAIT_SECONDS", 0.2)
    stop = Event()
    running = Dispatcher(stop, DeadLetters())
    running.start()
    yield running
    stop.set()
    running.join()


def make_record(offset: int = 0, *, key: str = "ann", **headers: str) -> Record:
    known = {"ce_id": str(new_id()), "ce_type": "COURSE_COMPLETED", "ce_time": now().isoformat(), **headers}
    return Record("progress", 0, offset, key, known, msgspec.Raw(b"{}"))


def give(dispatcher: Dispatcher, done: Done, *records: Record) -> None:
    for record in records:
        dispatcher.dispatch(HANDLER, record, done(record))


def letters(database: Database) -> list[tuple[str, str]]:
    return [(key, reason) for key, reason in database.rows("SELECT key, reason FROM bus.dead_letters ORDER BY seq")]


# Replies.


@pytest.mark.parametrize(
    "reply",
    [b"no JSON", b"[]", b"{}", b'"text"', b'{"task_id": []}', b'{"task_id": "unknown", "result": null}'],
    ids=repr,
)
def test_malformed_reply_does_not_stop_the_dispatcher(dispatcher, worker, done, reply):
    give(dispatcher, done, make_record())
    message = worker.take()

    worker.reply_raw(message, reply)
    worker.reply(message, result=None, field_of_a_newer_worker=1)

    eventually(lambda: done.offsets == [0], "the end of the event")


@pytest.mark.parametrize(
    ("error", "next_attempt"),
    [
        ({"name": "SeatsTaken", "args": ["a"], "status": 409, "transient": False}, 2),
        ({"name": "WaitingRoom", "args": [], "status": 503, "transient": True}, 1),
        ({"name": "WaitingRoom"}, 1),
        ("text", 2),
        (None, 2),
    ],
    ids=str,
)
def test_unknown_error_of_a_newer_worker_is_retried(dispatcher, worker, done, error, next_attempt):
    """One that is not transient counts towards a dead letter: the next attempt has a higher number."""
    give(dispatcher, done, make_record())
    worker.reply(worker.take(), error=error)

    again = worker.take()
    worker.reply(again, result=None)

    assert again["envelope"]["attempt"] == next_attempt
    eventually(lambda: done.offsets == [0], "the end of the event")


def test_event_that_waits_too_long_becomes_a_dead_letter(dispatcher, worker, done, database, monkeypatch):
    monkeypatch.setattr(settings, "EVENT_WAIT_SECONDS", 1)
    began = time.monotonic()
    give(dispatcher, done, make_record())

    while not done.offsets:
        if message := queue_redis().rpop(SERVICE):
            headers = msgspec.json.decode(message)["headers"]
            worker.reply(headers, error=ProjectionBehind("contact of user", "ann").to_wire())
        time.sleep(0.01)
        assert time.monotonic() - began < 10

    [(key, reason)] = letters(database)
    assert key == "ann"
    assert reason.startswith("waited too long: ")
    assert "ProjectionBehind" in reason
    assert time.monotonic() - began >= 1


def test_event_that_waited_is_tried_once_more_before_it_becomes_a_dead_letter(
    dispatcher, worker, done, database, monkeypatch
):
    """After an outage of hours its handler works again, and it must not become a dead letter unseen."""
    monkeypatch.setattr(settings, "EVENT_WAIT_SECONDS", 1)
    give(dispatcher, done, make_record())
    worker.reply(worker.take(), error=ProjectionBehind("contact of user", "ann").to_wire())
    message = worker.take()
    never(lambda: letters(database), "a dead letter", seconds=1.2)

    worker.reply(message, result=None)

    eventually(lambda: done.offsets == [0], "the end of the event")
    assert letters(database) == []


def test_dead_letter_is_not_counted_as_handled(dispatcher, worker, done, database, monkeypatch):
    handled: list[str] = []
    monkeypatch.setattr(dispatch, "count_handled", lambda handler, _record: handled.append(handler))
    give(dispatcher, done, make_record(0), make_record(1, key="bob"))
    messages = [worker.take(), worker.take()]

    worker.reply(messages[0], poison=5)
    worker.reply(messages[1], result=None)

    eventually(lambda: sorted(done.offsets) == [0, 1], "the end of both")
    assert handled == [HANDLER]
    assert len(letters(database)) == 1


def test_failed_callback_ends_the_thread_so_that_the_process_is_restarted(dispatcher, worker):
    def fail() -> None:
        raise ValueError

    dispatcher.dispatch(HANDLER, make_record(), fail)
    worker.reply(worker.take(), result=None)

    eventually(lambda: not dispatcher.is_alive(), "the end of the thread")


def test_failed_turn_does_not_end_the_thread(dispatcher, worker, done, monkeypatch):
    failing = Event()

    def release() -> None:
        failing.set()
        raise ValueError

    monkeypatch.setattr(dispatcher, "_release_delayed", release)
    assert failing.wait(5)
    monkeypatch.undo()
    give(dispatcher, done, make_record())
    worker.reply(worker.take(), result=None)

    eventually(lambda: done.offsets == [0], "the end of the event")


def test_event_that_two_callers_dispatch_is_sent_once_and_both_are_told(dispatcher, worker, done):
    record = make_record()
    give(dispatcher, done, record, record)
    message = worker.take()
    assert worker.waiting() == 0

    worker.reply(message, result=None)

    eventually(lambda: done.offsets == [0, 0], "both callers")


# Credits.


def test_messages_in_flight_are_bounded(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(settings, "EVENTS_IN_FLIGHT", 5)
    give(dispatcher, done, *(make_record(number, key=f"key {number}") for number in range(50)))
    never(lambda: worker.waiting() > 5, "more than may be in flight", seconds=0.8)

    for _ in range(50):
        worker.reply(worker.take(), result=None)
        assert worker.waiting() <= 5

    eventually(lambda: len(done.offsets) == 50, "all of them")


def test_fresh_event_is_sent_before_a_backlog_of_old_ones_and_old_ones_go_on(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(settings, "EVENTS_IN_FLIGHT", 1)
    long_ago = "2026-01-01T00:00:00Z"
    give(dispatcher, done, *(make_record(number, key=f"old {number}", ce_time=long_ago) for number in range(100)))
    give(dispatcher, done, *(make_record(number, key=f"new {number}") for number in range(100, 120)))

    for _ in range(40):
        worker.reply(worker.take(), result=None)
    eventually(lambda: len(done.offsets) == 40, "the first of them")

    assert set(done.offsets[:30]) >= set(range(100, 120))
    assert any(offset < 100 for offset in done.offsets[1:30])


def test_events_of_a_partition_that_is_lost_are_not_sent(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(settings, "EVENTS_IN_FLIGHT", 1)
    sent, unsent = make_record(0), make_record(1, key="bob")
    give(dispatcher, done, sent, unsent)
    assert dispatcher.forget(SERVICE, [("progress", 0)]) == [unsent]

    worker.reply(worker.take(), result=None)

    eventually(lambda: done.offsets == [0], "the event in flight")
    never(worker.waiting, "the other event")
    assert len(dispatcher) == 0


# Lost messages.


def hold(headers: dict[str, Any]) -> None:
    """Note the message as kombu does for a worker that has taken it."""
    queue_redis().hset(f"unacked:{SERVICE}", "tag", msgspec.json.encode([{"headers": headers}, "", SERVICE]))


def test_message_that_redis_lost_is_sent_again(dispatcher, worker, done):
    give(dispatcher, done, make_record())
    eventually(worker.waiting, "the message")
    queue_redis().delete(SERVICE)

    again = worker.take()
    worker.reply(again, result=None)

    assert again["envelope"]["attempt"] == 2
    eventually(lambda: done.offsets == [0], "the end of the event")


def test_message_in_the_queue_is_not_sent_again(dispatcher, worker, done):
    give(dispatcher, done, make_record())

    never(lambda: worker.waiting() > 1, "a second message", seconds=1.5)


def test_message_that_a_worker_holds_is_not_sent_again_at_once(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(dispatch, "LONGEST_WAIT_SECONDS", 30)
    give(dispatcher, done, make_record())
    hold(worker.take())
    never(worker.waiting, "a second message", seconds=0.5)

    first = worker.take()  # the worker may have been killed
    never(worker.waiting, "a third message", seconds=0.6)  # each time it may take twice as long

    worker.reply(first, result=None)
    eventually(lambda: done.offsets == [0], "the end of the event")


def test_message_that_a_killed_worker_holds_is_not_sent_again_while_its_repetition_waits(dispatcher, worker, done):
    give(dispatcher, done, make_record())
    hold(worker.take())
    eventually(worker.waiting, "the repetition")

    never(lambda: worker.waiting() > 1, "another one", seconds=1.5)


def test_message_that_younger_ones_have_passed_is_sent_again(dispatcher, worker, done, monkeypatch):
    """Commands keep the queue from ever being empty."""
    give(dispatcher, done, make_record())
    lost = worker.take()
    later = {"headers": {"id": "x", "envelope": {"sent_at": time.time() + 60}}}
    queue_redis().lpush(SERVICE, msgspec.json.encode(later))

    eventually(lambda: worker.waiting() == 2, "the repetition")
    worker.take()
    assert worker.take()["id"] == lost["id"]
