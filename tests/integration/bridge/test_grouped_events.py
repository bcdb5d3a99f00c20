"""The dispatcher sends several events in one message. The test plays the worker."""

import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest

import settings
from bridge.consumer import dispatch, outbound
from core.messaging import task_queue
from core.redis import queue_redis
from tests.integration.bridge.fake_worker import HANDLER, SERVICE, Done, Worker, dispatch_all, make_record, mark_unacked
from tests.support.polling import assert_never, eventually


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
