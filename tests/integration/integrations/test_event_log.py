"""The event feed: each event once, in one order, without personal data, and none skipped."""

from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db import new_id, session_factory, utc_now
from models.errors import CursorInvalid, EventsExpired, UnknownEventType
from models.events import CoursePurchased, LessonCompleted, Person, UserCreated, UserUpdated
from models.integrations import EventLogEntry, EventLogRetention
from tests.integration.integrations.factories import append_to_event_log, deliveries, headers_of, make_endpoint
from tests.support.databases import Database
from tests.support.deliveries import deliver_together
from tests.support.events import build_event
from tests.support.polling import assert_never, run_concurrently
from workers.integrations.event_log import list_events


def read_page(session: Session, after: str = "0", *types: str, limit: int = 100) -> dict:
    return list_events(session, after=int(after), types=list(types), limit=limit)


def ids(page: dict) -> list[UUID]:
    return [UUID(event["id"]) for event in page["items"]]


def test_events_are_listed_in_append_order(session: Session):
    kept = [append_to_event_log(session) for _ in range(5)]
    first = read_page(session, limit=3)
    second = read_page(session, first["next_after"], limit=3)

    assert ids(first) + ids(second) == kept
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert read_page(session, second["next_after"])["items"] == []


def test_reader_starts_at_the_end(session: Session):
    assert list_events(session, after=None, types=[], limit=1)["next_after"] == "0"
    append_to_event_log(session)
    end = list_events(session, after=None, types=[], limit=1)
    later = append_to_event_log(session)

    assert (end["items"], end["has_more"]) == ([], False)
    assert ids(read_page(session, end["next_after"])) == [later]


def test_feed_item_is_a_cloudevent(session: Session):
    event = build_event(CoursePurchased, course_title="Sailing")
    event_id = append_to_event_log(session, event, ce_correlationid="req-1", ce_sequence="7")
    [shown] = read_page(session)["items"]

    assert (shown["specversion"], shown["id"], shown["type"]) == ("1.0", str(event_id), "COURSE_PURCHASED")
    assert (shown["source"], shown["sequence"], shown["correlationid"]) == ("/payments", "7", "req-1")
    assert shown["dataschema"] == "https://coursebus.dev/schemas/COURSE_PURCHASED/1"
    assert shown["data"] == msgspec.to_builtins(event)


def test_type_filter_skips_other_events(session: Session):
    append_to_event_log(session)
    lesson = append_to_event_log(session, build_event(LessonCompleted))
    append_to_event_log(session)
    page = read_page(session, "0", "LESSON_COMPLETED")

    assert ids(page) == [lesson]
    assert read_page(session, page["next_after"])["items"] == []


def test_unknown_event_type_filter_is_rejected(session: Session):
    with pytest.raises(UnknownEventType):
        read_page(session, "0", "COURSE_EATEN")


def test_feed_contains_no_pii(session: Session):
    person = Person(email="ann@example.com", name="Ann")
    append_to_event_log(session, build_event(UserCreated, pii=person, sub="auth0|ann"))
    append_to_event_log(session, build_event(UserUpdated, pii=person))
    page = read_page(session)

    assert "ann" not in msgspec.json.encode(page).decode().lower()
    assert page["items"][0]["dataschema"] == "https://coursebus.dev/schemas/USER_CREATED/1/public"
    assert page["items"][0]["data"]["user_id"]


def test_database_rejects_pii_in_feed(session: Session):
    append_to_event_log(session)
    with pytest.raises(IntegrityError, match="ck_events_without_person"), session.begin_nested():
        session.execute(update(EventLogEntry).values(data={"pii": {}}))


def test_replay_after_inbox_pruning_stores_event_once(deliver, database: Database):
    event, event_id = build_event(CoursePurchased), new_id()
    for _ in range(2):
        deliver(
            "integrations.append_event_to_log", {"event": event}, event_id=event_id, event_headers=headers_of(event)
        )
        database.execute("DELETE FROM bus.inbox")

    assert database.count("integrations.events") == 1


def test_old_replayed_event_is_not_stored(deliver, database: Database):
    event = build_event(CoursePurchased)
    headers = headers_of(event, ce_time=(utc_now() - timedelta(days=15)).isoformat())
    assert (
        deliver("integrations.append_event_to_log", {"event": event}, event_id=new_id(), event_headers=headers)[
            "result"
        ]
        is None
    )

    assert database.count("integrations.events") == 0


def test_message_appends_its_new_events_in_their_order(database: Database):
    handler, event = "integrations.append_event_to_log", build_event(LessonCompleted)
    with session_factory("integrations").begin() as session:
        endpoint = make_endpoint(session, "http://127.0.0.1:9/", "LESSON_COMPLETED")
        known = append_to_event_log(session, event)
    sent = [new_id() for _ in range(20)]
    sent.insert(10, known)
    old = headers_of(event, ce_time=(utc_now() - timedelta(days=15)).isoformat())
    replies = deliver_together(
        "integrations", [(handler, id_, event) for id_ in [*sent, new_id()]], [headers_of(event) for _ in sent] + [old]
    )

    assert [reply["result"] for reply in replies] == [None] * 22
    sent.remove(known)
    with session_factory("integrations").begin() as session:
        assert ids(read_page(session)) == [known, *sent]
        assert [each.event_id for each in deliveries(session, endpoint_id=endpoint.id)] == sent


def test_feed_has_no_gaps_with_late_commits(database: Database):
    """An event that is inserted first and committed last hides the later events until its commit."""
    with session_factory("integrations").begin() as slow:
        late = append_to_event_log(slow)

        def append_later() -> UUID:
            with session_factory("integrations").begin() as quick:
                return append_to_event_log(quick)

        def watch() -> list[UUID]:
            with session_factory("integrations").begin() as reader:
                assert_never(lambda: ids(read_page(reader)), "an event behind the late one", seconds=0.3)
            slow.commit()
            return []

        quick_id, _ = run_concurrently(append_later, watch)
    with session_factory("integrations").begin() as reader:
        assert ids(read_page(reader)) == [late, quick_id]


def test_concurrent_writers_leave_no_gaps_for_reader(database: Database):
    seen: list[UUID] = []
    done: list[bool] = []

    def write() -> list[UUID]:
        written = []
        for _ in range(15):
            with session_factory("integrations").begin() as session:
                session.execute(text("SELECT pg_sleep(random() * 0.005)"))
                written.append(append_to_event_log(session))
                session.execute(text("SELECT pg_sleep(random() * 0.005)"))
        done.append(True)
        return written

    def follow() -> None:
        after, over = "0", False
        while not over:
            over = len(done) == 6
            with session_factory("integrations").begin() as session:
                page = read_page(session, after, limit=7)
            seen.extend(ids(page))
            after, over = page["next_after"], over and not page["has_more"]

    *written, _ = run_concurrently(*[write] * 6, follow)

    assert len(seen) == len(set(seen))
    assert set(seen) == {event_id for each in written for event_id in each}


def test_expired_cursor_raises_events_pruned(session: Session):
    append_to_event_log(session)
    begin = read_page(session)["next_after"]
    for _ in range(2):
        append_to_event_log(session)
    session.execute(update(EventLogEntry).values(logged_at=utc_now() - timedelta(days=20)))
    fresh = append_to_event_log(session)

    assert EventLogRetention.prune(session, before=utc_now() - timedelta(days=14), limit=100) == 3
    with pytest.raises(EventsExpired):
        read_page(session, begin)
    assert ids(read_page(session)) == [fresh]


def test_unissued_cursor_is_rejected(session: Session):
    append_to_event_log(session)
    with pytest.raises(CursorInvalid):
        read_page(session, str(10**12))


def test_export_contains_only_events_of_user(session: Session):
    user_id = uuid4()
    append_to_event_log(session, build_event(CoursePurchased))
    event_id = append_to_event_log(session, build_event(CoursePurchased, user_id=user_id))

    assert [event.id for event in EventLogEntry.list_for_user(session, user_id)] == [event_id]
