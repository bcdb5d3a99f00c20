"""Request traces: the way of a request from its queue through the outbox and Kafka to every handler, drawn to scale."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from coursebus import models
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client

from .blueprint import OPERATIONS, blueprint, page_of, staff_only

_WIDTH = 1000.0  # of the time axis, in units of the drawing


@dataclass(frozen=True)
class Bar:
    """A part of a row: what happened between two times. ``x`` and ``width`` are units of the drawing."""

    kind: str  # queue, publish or handle
    x: float
    width: float
    milliseconds: float


@dataclass
class Row:
    """A row of the drawing: an event, or one of its handlers."""

    name: str
    depth: int
    state: str = ""
    note: str = ""
    bars: list[Bar] = field(default_factory=list)


@blueprint.get("/requests")
@staff_only(*OPERATIONS)
def traced_requests() -> ResponseReturnValue:
    """Open the trace of a request, or list the requests of an order, a person or another object."""
    if request_id := request.args.get("request_id", "").strip():
        return redirect(url_for("console.request_trace", request_id=request_id), 303)
    given = {name: request.args[name].strip() for name in ("key", "user_id") if request.args.get(name, "").strip()}
    found = page_of(client().list_traced_requests(limit=100, **given)) if given else None
    return render_template("console/requests.html", found=found, given=given)


@blueprint.get("/requests/<request_id>")
@staff_only(*OPERATIONS)
def request_trace(request_id: str) -> str:
    """Draw the trace of a request."""
    trace = client().get_request_trace(request_id)
    return render_template("console/request.html", trace=trace, rows=rows_of(trace.events), width=_WIDTH)


def rows_of(events: list[models.TracedEvent]) -> list[Row]:
    """Return the rows of a trace: each event below the one that caused it, with its handlers."""
    known = {event.id for event in events}
    drawing = _Drawing(events)
    for event in events:
        if event.caused_by not in known:
            drawing.add(event, depth=0)
    return drawing.rows


class _Drawing:
    """The rows of a trace, with bars to one scale."""

    def __init__(self, events: list[models.TracedEvent]) -> None:
        self.rows: list[Row] = []
        self._events = events
        times = [_time(text) for event in events for text in _times_of(event) if text]
        self._start = min(times)
        self._scale = _WIDTH / max(_milliseconds(self._start, max(times)), 1.0)

    def add(self, event: models.TracedEvent, *, depth: int) -> None:
        """Add an event, its handlers, and the events that they have recorded."""
        bars = [
            *self._bars("queue", event.queued_at, event.recorded_at),
            *self._bars("publish", event.recorded_at, event.published_at),
        ]
        state = "quarantined" if event.quarantined_at else "published" if event.published_at else "unpublished"
        self.rows.append(Row(event.type, depth, state, event.quarantine_reason or event.task or "", bars))
        caused = [each for each in self._events if each.caused_by == event.id]
        for handler in event.handlers:
            handled = self._bars("handle", event.published_at, handler.at)
            self.rows.append(Row(handler.handler, depth + 1, handler.state, handler.reason or "", handled))
            for each in caused:
                if each.task == handler.handler:
                    self.add(each, depth=depth + 2)
        handlers = {handler.handler for handler in event.handlers}
        for each in caused:
            if each.task not in handlers:  # such as the result of a mail, which is sent later
                self.add(each, depth=depth + 1)

    def _bars(self, kind: str, since: str | None, until: str | None) -> list[Bar]:
        """Return the bar between two times, if both are known."""
        if since is None or until is None:
            return []
        # The clocks of two machines differ by some milliseconds.
        milliseconds = max(_milliseconds(_time(since), _time(until)), 0.0)
        x = _milliseconds(self._start, _time(since)) * self._scale
        return [Bar(kind, round(x, 1), round(max(milliseconds * self._scale, 2.0), 1), round(milliseconds, 1))]


def _times_of(event: models.TracedEvent) -> list[str | None]:
    own = [event.queued_at, event.recorded_at, event.published_at]
    return [*own, *(handler.at for handler in event.handlers)]


def _milliseconds(since: datetime, until: datetime) -> float:
    return (until - since) / timedelta(milliseconds=1)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
