"""The dispatcher handles replies, lost messages and backlogs. The test plays the worker."""

import time
from threading import Event

import msgspec
import pytest

import settings
from bridge.consumer import dispatch
from core.redis import queue_redis
from models.errors import ProjectionNotReady
from tests.integration.bridge.fake_worker import HANDLER, SERVICE, dispatch_all, make_record, mark_unacked
from tests.support.databases import Database
from tests.support.polling import assert_never, eventually


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


# Lost messages.


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
