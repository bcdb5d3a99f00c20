"""An event may be delivered several times, and each handler has its effect once."""

import time
from contextlib import suppress
from functools import partial

import pytest
from sqlalchemy.orm import Session

from celery_app import celery_app
from core.bus.inbox import claim_event
from core.db import new_id, session_factory
from models.errors import ProjectionNotReady
from models.events import CourseCompleted, Event
from models.events.routes import ROUTES
from tests.support.events import build_event
from tests.support.polling import run_concurrently
from tests.support.tasks import Killed, Notes, registered, write_note
from workers.runtime.tasks import TASKS

celery_app.loader.import_default_modules()
HANDLERS = [(type_, handler) for type_, handlers in ROUTES.items() for handler in handlers]
FAULTS: list[BaseException] = []  # raised one per run, after the work of the handler


def note(session: Session, *, event: CourseCompleted) -> None:
    write_note(session, event.course_title)
    time.sleep(0.1)
    if FAULTS:
        raise FAULTS.pop()


def note_in_second_handler(session: Session, *, event: CourseCompleted) -> None:
    write_note(session, event.course_title)


@pytest.fixture(autouse=True)
def tasks():
    with registered(note, note_in_second_handler):
        yield
    FAULTS.clear()


@pytest.fixture
def send(deliver):
    event_id, event = new_id(), build_event(CourseCompleted, course_title="Sourdough")
    return lambda task="note", attempt=1: deliver(
        f"progress.{task}", {"event": event}, event_id=event_id, attempt=attempt
    )


def test_redelivered_event_is_handled_once(send, notes: Notes):
    first, repeat = send(), send()

    assert notes() == ["Sourdough"]
    assert (first["result"], repeat["result"], repeat["replayed"]) == (None, None, True)


def test_concurrent_deliveries_are_handled_once(send, notes: Notes):
    replies = run_concurrently(*[send] * 4)

    assert notes() == ["Sourdough"]
    assert [reply["result"] for reply in replies] == [None] * 4


def test_each_handler_handles_the_event(send, notes: Notes):
    send("note")
    send("note_in_second_handler")

    assert notes() == ["Sourdough"] * 2


@pytest.mark.parametrize("fault", [ProjectionNotReady("outline", "x"), ValueError("a bug"), Killed()], ids=repr)
def test_failed_delivery_is_not_recorded_as_handled(send, notes: Notes, fault):
    FAULTS.append(fault)
    with suppress(Killed):
        send()
    assert notes() == []
    send()
    assert notes() == ["Sourdough"]


@pytest.mark.parametrize(("type_", "handler"), HANDLERS, ids=lambda value: value)
def test_every_handler_is_idempotent(deliver, monkeypatch, type_, handler):
    """The function of the handler is replaced by a counter; its signature and dependencies are real."""
    call, done = TASKS[handler], []
    call.types  # noqa: B018 cached before the function is replaced
    monkeypatch.setattr(call, "fn", lambda *_dependencies, **_message: done.append(handler))
    event_id, event = new_id(), build_event(Event.by_type[type_])
    replies = [deliver(handler, {"event": event}, event_id=event_id, event_headers={}) for _ in range(2)]

    assert [reply.get("result", reply) for reply in replies] == [None, None]
    assert done == [handler]


def test_event_is_poison_after_five_attempts(send, notes: Notes):
    """Each attempt is counted before it starts, so an attempt that kills its worker counts too."""
    for attempt in range(1, 6):
        FAULTS.append(Killed() if attempt % 2 else ValueError("a bug"))
        with suppress(Killed):
            send(attempt=attempt)
    reply = send(attempt=6)

    assert reply["poison"] == 5
    assert notes() == []


def test_fifth_attempt_is_still_executed(send, notes: Notes):
    for attempt in range(1, 5):
        FAULTS.append(ValueError("a bug"))
        assert "crash" in send(attempt=attempt)
    assert send(attempt=5)["result"] is None
    assert notes() == ["Sourdough"]


def test_event_in_progress_is_not_poison(deliver, notes: Notes):
    """An event of a slow handler is sent again while the handler runs; it must not become a dead letter."""
    event_id, event = new_id(), build_event(CourseCompleted)
    send = partial(deliver, "progress.note", {"event": event}, event_id=event_id, seconds_left=0.4)
    with session_factory("progress").begin() as session:
        claim_event(session, "progress.note", event_id)
        replies = [send(attempt=attempt) for attempt in range(2, 9)]

    # OutcomeUnknown if the deadline passes first, on a loaded machine; a poison message has no "error".
    assert {reply["error"]["name"] for reply in replies} <= {"Unavailable", "OutcomeUnknown"}
    assert send(attempt=9)["result"] is None


def test_completed_event_is_never_poison(send, notes: Notes):
    for attempt in range(1, 10):
        assert send(attempt=attempt)["result"] is None
    assert notes() == ["Sourdough"]
