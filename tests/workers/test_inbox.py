"""An event is delivered as often as need be, and done once by each of its handlers."""

import time
from contextlib import suppress
from functools import partial

import pytest
from sqlalchemy.orm import Session

from bridge.routes import ROUTES
from celery_app import celery_app
from models.base import new_id, sessions
from models.errors import ProjectionBehind
from models.events import CourseCompleted, Event
from models.inbox import first_delivery
from tests.support.events import some
from tests.support.tasks import Killed, Notes, registered, write
from tests.support.waiting import at_once
from workers._tasks import CALLS

celery_app.loader.import_default_modules()
HANDLERS = [(type_, handler) for type_, handlers in ROUTES.items() for handler in handlers]
FAULTS: list[BaseException] = []  # raised one after another, each after the work


def note(session: Session, *, event: CourseCompleted) -> None:
    write(session, event.course_title)
    time.sleep(0.1)
    if FAULTS:
        raise FAULTS.pop()


def note_as_well(session: Session, *, event: CourseCompleted) -> None:
    write(session, event.course_title)


@pytest.fixture(autouse=True)
def tasks():
    with registered(note, note_as_well):
        yield
    FAULTS.clear()


@pytest.fixture
def send(deliver):
    event_id, event = new_id(), some(CourseCompleted, course_title="Sourdough")
    return lambda task="note", attempt=1: deliver(
        f"progress.{task}", {"event": event}, event_id=event_id, attempt=attempt
    )


def test_delivered_twice_is_done_once(send, notes: Notes):
    first, repeat = send(), send()

    assert notes() == ["Sourdough"]
    assert (first["result"], repeat["result"], repeat["replayed"]) == (None, None, True)


def test_delivered_at_the_same_time_is_done_once(send, notes: Notes):
    replies = at_once(*[send] * 4)

    assert notes() == ["Sourdough"]
    assert [reply["result"] for reply in replies] == [None] * 4


def test_each_handler_does_it(send, notes: Notes):
    send("note")
    send("note_as_well")

    assert notes() == ["Sourdough"] * 2


@pytest.mark.parametrize("fault", [ProjectionBehind("outline", "x"), ValueError("a bug"), Killed()], ids=repr)
def test_what_was_not_done_is_not_taken_for_done(send, notes: Notes, fault):
    FAULTS.append(fault)
    with suppress(Killed):
        send()
    assert notes() == []
    send()
    assert notes() == ["Sourdough"]


@pytest.mark.parametrize(("type_", "handler"), HANDLERS, ids=lambda value: value)
def test_delivered_twice_done_once_by_every_handler_there_is(deliver, monkeypatch, type_, handler):
    """With the handler's own signature and resources, and something in its place that counts."""
    call, done = CALLS[handler], []
    call.types  # noqa: B018 read from the handler before something else stands in its place
    monkeypatch.setattr(call, "fn", lambda *_lent, **_message: done.append(handler))
    event_id, event = new_id(), some(Event.by_type[type_])
    replies = [deliver(handler, {"event": event}, event_id=event_id, event_headers={}) for _ in range(2)]

    assert [reply.get("result", reply) for reply in replies] == [None, None]
    assert done == [handler]


def test_an_event_that_comes_back_too_often_is_poison(send, notes: Notes):
    """The bridge counts from 2; each attempt is counted before it begins, so one that kills its worker counts too."""
    for attempt in range(1, 6):
        FAULTS.append(Killed() if attempt % 2 else ValueError("a bug"))
        with suppress(Killed):
            send(attempt=attempt)
    reply = send(attempt=6)

    assert reply["poison"] == 5
    assert notes() == []


def test_a_handler_has_five_attempts(send, notes: Notes):
    for attempt in range(1, 5):
        FAULTS.append(ValueError("a bug"))
        assert "crash" in send(attempt=attempt)
    assert send(attempt=5)["result"] is None
    assert notes() == ["Sourdough"]


def test_what_is_still_being_done_is_no_poison(deliver, notes: Notes):
    """A handler that takes its time is sent again while it works; its event must not be taken away from it."""
    event_id, event = new_id(), some(CourseCompleted)
    send = partial(deliver, "progress.note", {"event": event}, event_id=event_id, seconds_left=0.4)
    with sessions("progress").begin() as session:
        first_delivery(session, "progress.note", event_id)
        replies = [send(attempt=attempt) for attempt in range(2, 9)]

    assert {reply["error"]["name"] for reply in replies} == {"Unavailable"}
    assert send(attempt=9)["result"] is None


def test_what_was_done_is_no_poison_however_often_its_reply_is_lost(send, notes: Notes):
    for attempt in range(1, 10):
        assert send(attempt=attempt)["result"] is None
    assert notes() == ["Sourdough"]
