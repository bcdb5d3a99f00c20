"""The feed: every event once, in one order, nobody named, and none passed over."""

from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.base import new_id, now, sessions
from models.errors import CursorInvalid, EventsPruned, UnknownEventType
from models.events import CoursePurchased, LessonCompleted, Person, UserCreated, UserUpdated
from models.integrations import LoggedEvent, PrunedFeed
from tests.integrations.factories import append, headers_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.waiting import at_once, never
from workers.integrations.feed import list_events


def read(session: Session, after: str = "0", *types: str, limit: int = 100) -> dict:
    return list_events(session, after=int(after), types=list(types), limit=limit)


def ids(page: dict) -> list[UUID]:
    return [UUID(event["id"]) for event in page["items"]]


def test_events_come_in_the_order_in_which_they_were_kept(session: Session):
    kept = [append(session) for _ in range(5)]
    first = read(session, limit=3)
    second = read(session, first["next_after"], limit=3)

    assert ids(first) + ids(second) == kept
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert read(session, second["next_after"])["items"] == []


def test_an_event_is_a_cloud_event(session: Session):
    event = some(CoursePurchased, course_title="Sailing")
    event_id = append(session, event, ce_correlationid="req-1", ce_sequence="7")
    [shown] = read(session)["items"]

    assert (shown["specversion"], shown["id"], shown["type"]) == ("1.0", str(event_id), "COURSE_PURCHASED")
    assert (shown["source"], shown["sequence"], shown["correlationid"]) == ("/payments", "7", "req-1")
    assert shown["dataschema"] == "https://coursebus.dev/schemas/COURSE_PURCHASED/1"
    assert shown["data"] == msgspec.to_builtins(event)


def test_a_filter_leaves_out_other_types_and_passes_them_by(session: Session):
    append(session)
    lesson = append(session, some(LessonCompleted))
    append(session)
    page = read(session, "0", "LESSON_COMPLETED")

    assert ids(page) == [lesson]
    assert read(session, page["next_after"])["items"] == []


def test_an_event_that_nobody_knows_is_no_filter(session: Session):
    with pytest.raises(UnknownEventType):
        read(session, "0", "COURSE_EATEN")


def test_nobody_is_named(session: Session):
    person = Person(email="ann@example.com", name="Ann")
    append(session, some(UserCreated, pii=person, sub="auth0|ann"))
    append(session, some(UserUpdated, pii=person))
    page = read(session)

    assert "ann" not in msgspec.json.encode(page).decode().lower()
    assert page["items"][0]["dataschema"] == "https://coursebus.dev/schemas/USER_CREATED/1/public"
    assert page["items"][0]["data"]["user_id"]


def test_the_database_itself_refuses_to_keep_a_name(session: Session):
    append(session)
    with pytest.raises(IntegrityError, match="ck_events_without_person"), session.begin_nested():
        session.execute(update(LoggedEvent).values(data={"pii": {}}))


def test_delivered_twice_it_is_there_once(deliver, database: Database):
    event, event_id = some(CoursePurchased), new_id()
    for _ in range(2):
        deliver("integrations.keep_event", {"event": event}, event_id=event_id, event_headers=headers_of(event))

    assert database.count("integrations.events") == 1


def test_a_replay_after_the_inbox_has_forgotten_puts_nothing_in_twice(deliver, database: Database):
    event, event_id = some(CoursePurchased), new_id()
    for _ in range(2):
        deliver("integrations.keep_event", {"event": event}, event_id=event_id, event_headers=headers_of(event))
        database.execute("DELETE FROM bus.inbox")

    assert database.count("integrations.events") == 1


def test_a_replay_of_long_ago_is_no_news(deliver, database: Database):
    event = some(CoursePurchased)
    headers = headers_of(event, ce_time=(now() - timedelta(days=15)).isoformat())
    assert (
        deliver("integrations.keep_event", {"event": event}, event_id=new_id(), event_headers=headers)["result"] is None
    )

    assert database.count("integrations.events") == 0


def test_no_reader_passes_over_an_event_that_commits_late(database: Database):
    """The one that came first commits last: until it has, nobody sees what came after it."""
    with sessions("integrations").begin() as slow:
        late = append(slow)

        def come_after() -> UUID:
            with sessions("integrations").begin() as quick:
                return append(quick)

        def watch() -> list[UUID]:
            with sessions("integrations").begin() as reader:
                never(lambda: ids(read(reader)), "an event behind the late one", seconds=0.3)
            slow.commit()
            return []

        quick_id, _ = at_once(come_after, watch)
    with sessions("integrations").begin() as reader:
        assert ids(read(reader)) == [late, quick_id]


def test_eight_writers_and_a_reader_that_never_waits_miss_nothing(database: Database):
    seen: list[UUID] = []
    done: list[bool] = []

    def write() -> list[UUID]:
        written = []
        for _ in range(15):
            with sessions("integrations").begin() as session:
                session.execute(text("SELECT pg_sleep(random() * 0.005)"))
                written.append(append(session))
                session.execute(text("SELECT pg_sleep(random() * 0.005)"))
        done.append(True)
        return written

    def follow() -> None:
        after, over = "0", False
        while not over:
            over = len(done) == 6
            with sessions("integrations").begin() as session:
                page = read(session, after, limit=7)
            seen.extend(ids(page))
            after, over = page["next_after"], over and not page["has_more"]

    *written, _ = at_once(*[write] * 6, follow)

    assert len(seen) == len(set(seen))
    assert set(seen) == {event_id for each in written for event_id in each}


def test_who_asks_for_what_is_forgotten_hears_so(session: Session):
    append(session)
    begin = read(session)["next_after"]
    for _ in range(2):
        append(session)
    session.execute(update(LoggedEvent).values(logged_at=now() - timedelta(days=20)))
    fresh = append(session)

    assert PrunedFeed.prune(session, before=now() - timedelta(days=14), limit=100) == 3
    with pytest.raises(EventsPruned):
        read(session, begin)
    assert ids(read(session)) == [fresh]


def test_a_position_that_was_never_given_out_is_refused(session: Session):
    append(session)
    with pytest.raises(CursorInvalid):
        read(session, str(10**12))


def test_an_export_holds_what_happened_to_somebody(session: Session):
    user_id = uuid4()
    append(session, some(CoursePurchased))
    theirs = append(session, some(CoursePurchased, user_id=user_id))

    assert [event.id for event in LoggedEvent.of_user(session, user_id)] == [theirs]
