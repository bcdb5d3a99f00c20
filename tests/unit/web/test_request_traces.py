"""The drawing of a request trace: each event below its cause, and bars to scale."""

from typing import Any

from coursebus import models

from web.console.request_traces import rows_of

AT = "2026-11-30T12:00:00.{:03}Z"


def handler(name: str, at: int | None) -> models.TracedHandler:
    state: models.HandlerState = "waiting" if at is None else "handled"
    shown_at = None if at is None else AT.format(at)
    return models.TracedHandler(handler=name, state=state, at=shown_at, attempts=None, dead_letter_id=None, reason=None)


def event(name: str, **given: Any) -> models.TracedEvent:
    fields: dict[str, Any] = {
        "id": name,
        "type": name,
        "service": "payments",
        "key": "k",
        "version": 1,
        "task": "payments.start_checkout",
        "actor": None,
        "caused_by": "a-command",
        "queued_at": AT.format(0),
        "recorded_at": AT.format(100),
        "published_at": AT.format(300),
        "quarantined_at": None,
        "quarantine_reason": None,
        "handlers": [],
    }
    return models.TracedEvent(**fields | given)


def test_events_stand_below_the_handler_that_recorded_them():
    first = event("FIRST", handlers=[handler("courses.grant", 400), handler("mails.send", 500)])
    late = {"queued_at": AT.format(300), "recorded_at": AT.format(400), "published_at": AT.format(500)}
    granted = event("GRANTED", caused_by="FIRST", task="courses.grant", **late)
    sent = event("SENT", caused_by="FIRST", task="mails.deliver", **late)

    rows = rows_of([first, granted, sent])

    assert [(row.name, row.depth) for row in rows] == [
        ("FIRST", 0),
        ("courses.grant", 1),
        ("GRANTED", 2),
        ("mails.send", 1),
        ("SENT", 1),
    ]


def test_bars_are_to_scale():
    [first, handled] = rows_of([event("FIRST", handlers=[handler("courses.grant", 500)])])

    assert [(bar.kind, bar.x, bar.width) for bar in first.bars] == [("queue", 0, 200), ("publish", 200, 400)]
    assert [(bar.kind, bar.x, bar.milliseconds) for bar in handled.bars] == [("handle", 600, 200)]


def test_waiting_handler_and_unpublished_event_have_no_bar():
    waiting = event("FIRST", published_at=None, queued_at=None, handlers=[handler("courses.grant", None)])

    assert [(row.state, row.bars) for row in rows_of([waiting])] == [("unpublished", []), ("waiting", [])]


def test_clocks_that_differ_draw_no_negative_bar():
    [_, handled] = rows_of([event("FIRST", handlers=[handler("courses.grant", 200)])])

    assert [bar.milliseconds for bar in handled.bars] == [0]
