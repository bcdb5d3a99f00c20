"""The dispatcher handles replies, lost messages and backlogs. The test plays the worker."""

import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any

import msgspec
import pytest

import settings
from bridge.consumer import dispatch, outbound
from bridge.consumer.dead_letter_store import DeadLetters
from bridge.consumer.dispatch import Dispatcher
from bridge.record import Record
from core.db import new_id, utc_now
from core.messaging import task_queue
from core.redis import queue_redis
from models.errors import ProjectionNotReady
from tests.support.databases import Database
from tests.support.polling import assert_never, eventually

SERVICE, HANDLER = "progress", "progress.recording_handler"


class Worker:
    """A fake worker that takes messages from the queue and replies as the test decides."""

    def take(self) -> dict[str, Any]:
        """Return the headers of the next message."""
        message = eventually(lambda: queue_redis().rpop(SERVICE), "a message")
        headers: dict[str, Any] = msgspec.json.decode(message)["headers"]
        return headers

    def reply(self, headers: dict[str, Any], **outcome: Any) -> None:
        self.reply_raw(headers, msgspec.json.encode({"task_id": headers["id"], **outcome}))

    def reply_raw(self, headers: dict[str, Any], reply: bytes) -> None:
        queue_redis().rpush(headers["envelope"]["reply_to"], reply)

    def waiting(self) -> int:
        return int(queue_redis().llen(SERVICE))


class Done:
    """Records the offsets of finished records."""

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
    monkeypatch.setattr(dispatch, "REPLY_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(dispatch, "LOST_CHECK_SECONDS", 0.1)
    monkeypatch.setattr(dispatch, "UNACKED_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(dispatch, "MAX_BACKOFF_SECONDS", 0.2)
    monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 1)  # other values have tests of their own below
    stop = Event()
    running = Dispatcher(stop, DeadLetters())
    running.start()
    yield running
    stop.set()
    running.join()


def make_record(offset: int = 0, *, key: str = "ann", **headers: str) -> Record:
    known = {"ce_id": str(new_id()), "ce_type": "COURSE_COMPLETED", "ce_time": utc_now().isoformat(), **headers}
    return Record("progress", 0, offset, key, known, msgspec.Raw(b"{}"))


def dispatch_all(dispatcher: Dispatcher, done: Done, *records: Record) -> None:
    for record in records:
        dispatcher.dispatch(HANDLER, record, done(record))
    dispatcher.send_ready(SERVICE)


def stored_dead_letters(database: Database) -> list[tuple[str, str]]:
    return [(key, reason) for key, reason in database.rows("SELECT key, reason FROM bus.dead_letters ORDER BY seq")]


# Replies.


@pytest.mark.parametrize(
    "reply",
    [b"no JSON", b"[]", b"{}", b'"text"', b'{"task_id": []}', b'{"task_id": "unknown", "result": null}'],
    ids=repr,
)
def test_malformed_reply_does_not_stop_the_dispatcher(dispatcher, worker, done, reply):
    dispatch_all(dispatcher, done, make_record())
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
    """An error that is not transient counts as an attempt, so the next attempt has a higher number."""
    dispatch_all(dispatcher, done, make_record())
    worker.reply(worker.take(), error=error)

    again = worker.take()
    worker.reply(again, result=None)

    assert again["envelope"]["attempt"] == next_attempt
    eventually(lambda: done.offsets == [0], "the end of the event")


def test_event_waiting_too_long_becomes_a_dead_letter(dispatcher, worker, done, database, monkeypatch):
    monkeypatch.setattr(settings, "EVENT_WAIT_SECONDS", 1)
    began = time.monotonic()
    dispatch_all(dispatcher, done, make_record())

    while not done.offsets:
        if message := queue_redis().rpop(SERVICE):
            headers = msgspec.json.decode(message)["headers"]
            worker.reply(headers, error=ProjectionNotReady("contact of user", "ann").to_wire())
        time.sleep(0.01)
        assert time.monotonic() - began < 10

    [(key, reason)] = stored_dead_letters(database)
    assert key == "ann"
    assert reason.startswith("waited too long: ")
    assert "ProjectionNotReady" in reason
    assert time.monotonic() - began >= 1


def test_event_is_retried_after_wait_limit_before_dead_letter(dispatcher, worker, done, database, monkeypatch):
    """After an outage of hours the event must be tried once more before it becomes a dead letter."""
    monkeypatch.setattr(settings, "EVENT_WAIT_SECONDS", 1)
    dispatch_all(dispatcher, done, make_record())
    worker.reply(worker.take(), error=ProjectionNotReady("contact of user", "ann").to_wire())
    message = worker.take()
    assert_never(lambda: stored_dead_letters(database), "a dead letter", seconds=1.2)

    worker.reply(message, result=None)

    eventually(lambda: done.offsets == [0], "the end of the event")
    assert stored_dead_letters(database) == []


def test_dead_letter_is_not_counted_as_handled(dispatcher, worker, done, database, monkeypatch):
    handled: list[str] = []
    monkeypatch.setattr(dispatch, "observe_handled", lambda handler, _record: handled.append(handler))
    dispatch_all(dispatcher, done, make_record(0), make_record(1, key="bob"))
    messages = [worker.take(), worker.take()]

    worker.reply(messages[0], poison=5)
    worker.reply(messages[1], result=None)

    eventually(lambda: sorted(done.offsets) == [0, 1], "the end of both events")
    assert handled == [HANDLER]
    assert len(stored_dead_letters(database)) == 1


def test_failed_callback_ends_the_dispatcher_thread(dispatcher, worker):
    def fail() -> None:
        raise ValueError

    dispatcher.dispatch(HANDLER, make_record(), fail)
    dispatcher.send_ready(SERVICE)
    worker.reply(worker.take(), result=None)

    eventually(lambda: not dispatcher.is_alive(), "the end of the thread")


def test_failed_iteration_does_not_end_the_thread(dispatcher, worker, done, monkeypatch):
    failing = Event()

    def release() -> None:
        failing.set()
        raise ValueError

    monkeypatch.setattr(dispatcher, "_release_delayed", release)
    assert failing.wait(5)
    monkeypatch.undo()
    dispatch_all(dispatcher, done, make_record())
    worker.reply(worker.take(), result=None)

    eventually(lambda: done.offsets == [0], "the end of the event")


def test_event_dispatched_twice_is_sent_once(dispatcher, worker, done):
    record = make_record()
    dispatch_all(dispatcher, done, record, record)
    message = worker.take()
    assert worker.waiting() == 0

    worker.reply(message, result=None)

    eventually(lambda: done.offsets == [0, 0], "both callbacks")


# Credits.


def test_messages_in_flight_are_bounded(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(settings, "EVENT_MESSAGES_IN_FLIGHT", 5)
    dispatch_all(dispatcher, done, *(make_record(number, key=f"key {number}") for number in range(50)))
    assert_never(lambda: worker.waiting() > 5, "more messages in flight than allowed", seconds=0.8)

    for _ in range(50):
        worker.reply(worker.take(), result=None)
        assert worker.waiting() <= 5

    eventually(lambda: len(done.offsets) == 50, "the end of all events")


def test_fresh_events_are_sent_before_backlog_without_starvation(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(settings, "EVENT_MESSAGES_IN_FLIGHT", 1)
    long_ago = "2026-01-01T00:00:00Z"
    dispatch_all(
        dispatcher, done, *(make_record(number, key=f"old {number}", ce_time=long_ago) for number in range(100))
    )
    dispatch_all(dispatcher, done, *(make_record(number, key=f"new {number}") for number in range(100, 120)))

    for _ in range(40):
        worker.reply(worker.take(), result=None)
    eventually(lambda: len(done.offsets) == 40, "the end of the first 40 events")

    assert set(done.offsets[:30]) >= set(range(100, 120))
    assert any(offset < 100 for offset in done.offsets[1:30])


def test_unsent_events_of_revoked_partition_are_dropped(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(settings, "EVENT_MESSAGES_IN_FLIGHT", 1)
    sent, unsent = make_record(0), make_record(1, key="bob")
    dispatch_all(dispatcher, done, sent, unsent)
    assert dispatcher.discard_unsent(SERVICE, [("progress", 0)]) == [unsent]

    worker.reply(worker.take(), result=None)

    eventually(lambda: done.offsets == [0], "the event in flight")
    assert_never(worker.waiting, "the other event")
    assert len(dispatcher) == 0


# Messages with several events.


def deliveries(worker: Worker) -> list[dict[str, Any]]:
    """Take the next message and return the events in it."""
    message = eventually(lambda: queue_redis().rpop(SERVICE), "a message", seconds=10)
    [_, arguments, _] = msgspec.json.decode(b64decode(msgspec.json.decode(message)["body"]))
    return list(arguments["deliveries"])


def test_waiting_events_are_sent_together(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 4)
    dispatch_all(dispatcher, done, *(make_record(number, key=f"key {5 - number}") for number in range(5)))
    together, alone = deliveries(worker), worker.take()

    for each in (*together, alone):
        envelope = each["envelope"]
        reply_to, task_id = envelope["reply_to"], each.get("task_id") or each["id"]
        queue_redis().rpush(reply_to, msgspec.json.encode({"task_id": task_id, "result": None}))

    assert [each["handler"] for each in together] == [HANDLER] * 4
    eventually(lambda: sorted(done.offsets) == [0, 1, 2, 3, 4], "the end of all events")


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make the events for HANDLER wait for others, for a number of seconds."""

    def gather(seconds: float) -> None:
        monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 4)
        monkeypatch.setattr(settings, "EVENT_GATHER_MS", seconds * 1000)
        monkeypatch.setattr(outbound, "is_urgent", lambda _: False)

    return gather


def test_events_wait_for_others_until_the_first_is_due(dispatcher, worker, done, gathering):
    gathering(0.5)
    first, second = make_record(0), make_record(1, key="bob")
    dispatch_all(dispatcher, done, first)
    dispatch_all(dispatcher, done, second)

    together = deliveries(worker)

    assert time.monotonic() >= first.received_at + 0.5
    assert [each["envelope"]["event_id"] for each in together] == [first.event_id, second.event_id]


def test_full_message_does_not_wait(dispatcher, worker, done, gathering):
    gathering(60)
    dispatch_all(dispatcher, done, *(make_record(number, key=f"key {number}") for number in range(5)))

    assert len(deliveries(worker)) == 4
    assert_never(worker.waiting, "the event that waits", seconds=0.5)


@pytest.mark.parametrize("is_answered", [True, False], ids=["answered", "urgent event"])
def test_events_wait_for_replies_and_share_the_next_message(dispatcher, worker, done, monkeypatch, is_answered):
    monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 4)
    monkeypatch.setattr(outbound, "waits_for_replies", HANDLER.__eq__)
    for number in range(5):
        dispatch_all(dispatcher, done, make_record(number, key=f"key {number}"))
    sent = [worker.take(), worker.take()]
    assert_never(worker.waiting, "a third message", seconds=0.3)
    if is_answered:
        worker.reply(sent[0], result=None)
    else:
        dispatcher.dispatch("progress.start_course", make_record(5, key="key 5"), done(make_record(5)))
        dispatcher.send_ready(SERVICE)

    assert len(deliveries(worker)) == (3 if is_answered else 4)


@pytest.mark.parametrize(
    ("seconds_ago", "headers"),
    [(60, {}), (0, {"ce_type": "USER_DELETED"}), (0, {"ce_time": "2026-01-01T00:00:00Z"})],
    ids=["waited behind an earlier event of its key", "is sent alone", "old"],
)
def test_event_that_need_not_wait_is_sent_at_once(dispatcher, worker, gathering, seconds_ago, headers):
    gathering(60)
    record = replace(make_record(1, key="bob", **headers), received_at=time.monotonic() - seconds_ago)
    dispatch_all(dispatcher, Done(), record)
    assert worker.take()["envelope"]["event_id"] == record.event_id


def test_event_is_sent_again_without_waiting(dispatcher, worker, done, gathering):
    gathering(0.2)
    dispatch_all(dispatcher, done, make_record())
    message = worker.take()
    gathering(60)
    worker.reply(message, crash="the first attempt")

    assert worker.take()["envelope"]["attempt"] == 2


@pytest.mark.parametrize("type_", ["USER_DELETED", "USER_EXPORT_REQUESTED"])
def test_event_about_all_data_of_a_person_is_sent_alone(dispatcher, worker, done, monkeypatch, type_):
    monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 4)
    others = [make_record(number, key=f"key {number}") for number in (1, 2)]
    dispatch_all(dispatcher, done, make_record(0, key="ann", ce_type=type_), *others)

    assert worker.take()["task"] == HANDLER
    assert len(deliveries(worker)) == 2


def test_events_of_lost_message_are_resent_alone(dispatcher, worker, done, monkeypatch):
    """One of them may have killed the worker."""
    monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 4)
    dispatch_all(dispatcher, done, *(make_record(number, key=f"key {number}") for number in range(3)))
    assert len(deliveries(worker)) == 3  # and the message is in no unacked hash: it is lost

    resent = [worker.take() for _ in range(3)]
    for headers in resent:
        worker.reply(headers, result=None)

    assert {(headers["task"], headers["envelope"]["attempt"]) for headers in resent} == {(HANDLER, 2)}
    eventually(lambda: sorted(done.offsets) == [0, 1, 2], "the end of all events")


def test_message_that_a_worker_holds_is_not_lost(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 4)
    monkeypatch.setattr(dispatch, "UNACKED_TIMEOUT_PER_EVENT_SECONDS", 30)
    monkeypatch.setattr(dispatch, "MAX_BACKOFF_SECONDS", 30)
    dispatch_all(dispatcher, done, *(make_record(number, key=f"key {number}") for number in range(3)))
    mark_unacked(worker.take())

    assert_never(worker.waiting, "a resent event", seconds=1)


def test_message_that_worker_cannot_read_is_resent_as_single_events(dispatcher, worker, done, monkeypatch):
    """Such as a worker of an older version."""
    monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 4)
    dispatch_all(dispatcher, done, *(make_record(number, key=f"key {number}") for number in range(3)))
    worker.reply(worker.take(), error={"name": "TaskUnknown", "args": ["x"], "status": 503, "transient": True})

    for headers in [worker.take() for _ in range(3)]:
        assert headers["task"] == HANDLER
        worker.reply(headers, result=None)
    eventually(lambda: sorted(done.offsets) == [0, 1, 2], "the end of all events")


def test_full_queue_keeps_the_events_of_a_message(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 4)
    monkeypatch.setattr(dispatch.task_queue, "enqueue", partial(task_queue.enqueue, limit=1))
    queue_redis().lpush(SERVICE, "{}")
    dispatch_all(dispatcher, done, *(make_record(number, key=f"key {number}") for number in range(3)))
    queue_redis().delete(SERVICE)

    assert [each["event"] for each in deliveries(worker)] == [{}] * 3


# Lost messages.


def mark_unacked(headers: dict[str, Any]) -> None:
    """Store the message in the unacked hash, as kombu does when a worker takes it."""
    queue_redis().hset(f"unacked:{SERVICE}", "tag", msgspec.json.encode([{"headers": headers}, "", SERVICE]))


def test_message_lost_by_redis_is_resent(dispatcher, worker, done):
    dispatch_all(dispatcher, done, make_record())
    eventually(worker.waiting, "the message")
    queue_redis().delete(SERVICE)

    again = worker.take()
    worker.reply(again, result=None)

    assert again["envelope"]["attempt"] == 2
    eventually(lambda: done.offsets == [0], "the end of the event")


def test_queued_message_is_not_resent(dispatcher, worker, done):
    dispatch_all(dispatcher, done, make_record())

    assert_never(lambda: worker.waiting() > 1, "a second message", seconds=1.5)


def test_unacked_message_is_resent_with_increasing_delay(dispatcher, worker, done, monkeypatch):
    monkeypatch.setattr(dispatch, "MAX_BACKOFF_SECONDS", 30)
    dispatch_all(dispatcher, done, make_record())
    mark_unacked(worker.take())
    assert_never(worker.waiting, "a second message", seconds=0.5)

    first = worker.take()  # sent again, because the worker may have been killed
    assert_never(worker.waiting, "a third message", seconds=0.6)  # the delay doubles with each attempt

    worker.reply(first, result=None)
    eventually(lambda: done.offsets == [0], "the end of the event")


def test_unacked_message_is_not_resent_while_resent_copy_waits(dispatcher, worker, done):
    dispatch_all(dispatcher, done, make_record())
    mark_unacked(worker.take())
    eventually(worker.waiting, "the second message")

    assert_never(lambda: worker.waiting() > 1, "a third message", seconds=1.5)


def test_message_overtaken_by_newer_ones_is_resent(dispatcher, worker, done, monkeypatch):
    """Commands can keep the queue from ever being empty, so an empty queue is no condition for resending."""
    dispatch_all(dispatcher, done, make_record())
    lost = worker.take()
    later = {"headers": {"id": "x", "envelope": {"sent_at": time.time() + 60}}}
    queue_redis().lpush(SERVICE, msgspec.json.encode(later))

    eventually(lambda: worker.waiting() == 2, "the second message")
    worker.take()
    assert worker.take()["id"] == lost["id"]
