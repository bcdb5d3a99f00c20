"""Request traces over HTTP: the events of a request, and the state of each of their handlers."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql

import settings
from core.bus.dead_letters import DeadLetter, HandlerFailure
from core.bus.inbox import InboxEvent
from core.bus.outbox import OutboxEvent, record
from core.db import session_factory, utc_now
from core.log import bind_context
from models.events import CourseCompleted, CoursePurchased
from models.integrations import request_traces
from tests.integration.bridge.kafka_probe import SampleAggregate
from tests.integration.integrations.factories import headers_of
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event
from tests.support.gateway import Person, cache_account, gateway, running_worker, trust_test_tokens

MAIL, FEED = "notifications.send_course_completed", "integrations.append_event_to_log"  # handlers of COURSE_COMPLETED


@pytest.fixture(autouse=True)
def worker(database: Database) -> Iterator[None]:
    with running_worker("integrations", "courses", "users"):
        yield


@pytest.fixture
def admin(monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    person = Person(gateway().test_client(), permissions=("ops:admin", "courses:write"))
    cache_account(person)
    return person


def record_event(key: SampleAggregate, *, request_id: str = "r-1") -> UUID:
    """Record COURSE_COMPLETED as a task does that a request has started; return the event's id."""
    with (
        bind_context(request_id=request_id, task="progress.complete_lesson", sent_at=1_800_000_000.5),
        session_factory("progress").begin() as session,
    ):
        record(session, key, build_event(CourseCompleted))  # type: ignore[arg-type]
        session.flush()
        return session.scalars(
            select(OutboxEvent.id).where(
                OutboxEvent.aggregateid == key.aggregate_id, OutboxEvent.aggregate_version == key.version
            )
        ).one()


def store(*rows: Any) -> None:
    with session_factory("integrations").begin() as session:
        session.add_all(rows)


def dead_letter(event_id: UUID, *, status: str = "open") -> DeadLetter:
    ids = {"handler": MAIL, "event_id": event_id, "topic": "progress", "key": "k", "type": CourseCompleted.type}
    closed_at = None if status == "open" else utc_now()
    state = {"reason": "it crashed", "status": status, "created_at": utc_now(), "closed_at": closed_at}
    return DeadLetter(payload={}, headers={}, **ids, **state)


def handlers_of(admin: Person, request_id: str = "r-1") -> dict[str, dict[str, Any]]:
    [event] = admin.get(f"/v1/request-traces/{request_id}").json["events"]
    return {each["handler"]: each for each in event["handlers"]}


def test_trace_shows_the_task_and_the_events_of_a_request(admin: Person):
    course = {
        "title": "Bread",
        "summary": "Four breads.",
        "category": "cooking",
        "level": "beginner",
        "language": "en",
        "price": {"amount_minor": 1900, "currency": "EUR"},
    }
    created = admin.send("POST", "/v1/courses", course, X_Request_Id="creation-1")
    assert created.status_code == 201, created.json

    trace = admin.get("/v1/request-traces/creation-1").json

    [event] = trace["events"]
    assert (event["type"], event["task"], event["service"]) == ("COURSE_CREATED", "courses.create_course", "courses")
    assert event["key"] == created.json["id"]
    assert event["queued_at"] <= event["recorded_at"]
    assert event["published_at"] is None
    assert [(each["handler"], each["state"]) for each in event["handlers"]] == [(FEED, "waiting")]
    assert trace["truncated"] is False


def test_trace_shows_handled_and_failing_handlers(admin: Person, database: Database):
    event_id = record_event(SampleAggregate())
    store(InboxEvent(handler=FEED, event_id=event_id, handled_at=utc_now()))
    store(HandlerFailure(handler=MAIL, event_id=event_id, attempts=2, failed_at=utc_now()))

    handlers = handlers_of(admin)

    assert {name: each["state"] for name, each in handlers.items()} == {FEED: "handled", MAIL: "failing"}
    assert handlers[MAIL]["attempts"] == 2
    assert all(each["at"] for each in handlers.values())


@pytest.mark.parametrize(
    ("status", "state"), [("open", "dead_letter"), ("discarded", "discarded"), ("replayed", "waiting")]
)
def test_trace_shows_dead_letters(admin: Person, status: str, state: str):
    event_id = record_event(SampleAggregate())
    store(dead_letter(event_id, status=status))

    handler = handlers_of(admin)[MAIL]

    assert handler["state"] == state
    assert handler["dead_letter_id"].startswith("notifications-")
    assert handler["reason"] == (None if status == "replayed" else "it crashed")


def test_old_event_without_inbox_row_is_unknown(admin: Person, database: Database):
    record_event(SampleAggregate())
    age = timedelta(days=settings.INBOX_RETENTION_DAYS + 1)
    database.execute("UPDATE bus.outbox SET created_at = created_at - :age", age=age)

    assert {each["state"] for each in handlers_of(admin).values()} == {"unknown"}


def test_long_trace_is_truncated(admin: Person, monkeypatch):
    monkeypatch.setattr(request_traces, "MAX_EVENTS", 2)
    key = SampleAggregate()
    events = [str(record_event(key)) for _ in range(3)]

    trace = admin.get("/v1/request-traces/r-1").json

    assert [event["id"] for event in trace["events"]] == events[:2]
    assert trace["truncated"] is True


def test_requests_of_a_key_are_listed_newest_first(admin: Person):
    key = SampleAggregate()
    for request_id in ("r-1", "r-1", "r-2"):
        record_event(key, request_id=request_id)
    record_event(SampleAggregate(), request_id="r-3")

    found = admin.get(f"/v1/request-traces?key={key.aggregate_id}").json
    first = admin.get(f"/v1/request-traces?key={key.aggregate_id}&limit=1").json
    second = admin.get(f"/v1/request-traces?key={key.aggregate_id}&limit=2&cursor={first['next_cursor']}").json

    assert [each["request_id"] for each in found["items"]] == ["r-2", "r-1"]
    assert found["items"][1]["event_types"] == ["COURSE_COMPLETED", "COURSE_COMPLETED"]
    assert [each["request_id"] for each in first["items"] + second["items"]] == ["r-2", "r-1"]


def test_requests_of_a_person_are_listed(admin: Person):
    user_id, key = uuid4(), SampleAggregate()
    event = build_event(CoursePurchased, user_id=user_id)
    with bind_context(request_id="r-1"), session_factory("payments").begin() as session:
        record(session, key, event)  # type: ignore[arg-type]
        session.flush()
        event_id = session.scalars(select(OutboxEvent.id).where(OutboxEvent.aggregateid == key.aggregate_id)).one()
    record_event(SampleAggregate(), request_id="r-2")
    deliver(FEED, {"event": event}, event_id=event_id, event_headers=headers_of(event))

    found = admin.get(f"/v1/request-traces?user_id={user_id}").json

    assert [each["request_id"] for each in found["items"]] == ["r-1"]


@pytest.mark.parametrize("query", ["", "?key=a&user_id=0198c0de-0000-7000-8000-000000000000", "?key=a%20b"])
def test_list_needs_one_filter(admin: Person, query: str):
    assert admin.get(f"/v1/request-traces{query}").status_code == 422


def test_unknown_request_is_not_found(admin: Person):
    answer = admin.get("/v1/request-traces/never-seen")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_trace_is_found_by_its_index(database: Database):
    sql = request_traces.select_events("r-1").compile(
        dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}
    )
    with session_factory("integrations").begin() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = session.scalars(text(f"EXPLAIN {sql}")).all()
    assert "ix_outbox_request_id" in str(plan)
