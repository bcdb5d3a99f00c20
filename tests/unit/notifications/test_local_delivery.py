"""Deliveries are executed by few threads of the worker, and none of them waits for a message of its own."""

import threading
import time
from uuid import UUID

import pytest

from core.db import new_id
from core.messaging import task_queue
from core.messaging.task_queue import Envelope
from models.commands import DeliverEmail
from workers.notifications import dispatcher
from workers.notifications.dispatcher import LocalDelivery


class Deliveries:
    """Stands in for the execution of deliveries: the first one waits until ``release`` is set."""

    def __init__(self) -> None:
        self.release, self.started = threading.Event(), threading.Event()
        self.executed: list[tuple[UUID, str]] = []  # the delivery and its thread

    def execute(self, _definition: object, _execution: object, message: dict[str, str]) -> None:
        self.executed.append((UUID(message["delivery_id"]), threading.current_thread().name))
        if not self.started.is_set():
            self.started.set()
            assert self.release.wait(5)


@pytest.fixture
def deliveries(monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    """Replace the execution of deliveries."""
    deliveries = Deliveries()
    monkeypatch.setattr(dispatcher, "execute_message", deliveries.execute)
    return deliveries


def test_thread_that_delivers_takes_over_what_others_leave(deliveries: Deliveries):
    local, commands = LocalDelivery(threads=1), [DeliverEmail(delivery_id=new_id()) for _ in range(3)]
    busy = threading.Thread(target=local.deliver, args=[commands[0], Envelope()], name="busy")
    busy.start()
    assert deliveries.started.wait(5)
    for command in commands[1:]:
        local.deliver(command, Envelope())  # returns at once
    deliveries.release.set()
    busy.join(5)

    assert deliveries.executed == [(command.delivery_id, "busy") for command in commands]


def test_deliveries_that_wait_are_left_to_the_sweep_when_the_worker_stops(deliveries: Deliveries):
    local, commands = LocalDelivery(threads=1), [DeliverEmail(delivery_id=new_id()) for _ in range(3)]
    busy = threading.Thread(target=local.deliver, args=[commands[0], Envelope()])
    busy.start()
    assert deliveries.started.wait(5)
    local.deliver(commands[1], Envelope())
    local.stop()
    deliveries.release.set()
    busy.join(5)
    local.deliver(commands[2], Envelope())

    assert [delivery_id for delivery_id, _ in deliveries.executed] == [commands[0].delivery_id]


def test_thread_whose_time_is_over_leaves_the_rest_to_the_next(deliveries: Deliveries):
    local, commands = LocalDelivery(threads=1), [DeliverEmail(delivery_id=new_id()) for _ in range(3)]
    deliveries.release.set()

    for command in commands[:2]:
        local.deliver(command, Envelope(), until=time.monotonic())
    left = list(deliveries.executed)
    local.deliver(commands[2], Envelope(), until=time.monotonic() + 60)

    assert left == []
    assert [delivery_id for delivery_id, _ in deliveries.executed] == [each.delivery_id for each in commands]


def test_deliveries_that_wait_during_a_slow_one_are_enqueued(deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch):
    enqueued: list[DeliverEmail] = []
    monkeypatch.setattr(task_queue, "enqueue", lambda _task, command, _envelope: enqueued.append(command))
    monkeypatch.setattr(dispatcher, "SLOW_SECONDS", 0)
    local, commands = LocalDelivery(threads=1), [DeliverEmail(delivery_id=new_id()) for _ in range(3)]
    busy = threading.Thread(target=local.deliver, args=[commands[0], Envelope()])
    busy.start()
    assert deliveries.started.wait(5)
    local.deliver(commands[1], Envelope())
    deliveries.release.set()
    busy.join(5)
    local.deliver(commands[2], Envelope())

    assert [delivery_id for delivery_id, _ in deliveries.executed] == [commands[0].delivery_id]
    assert enqueued == commands[1:]
