"""The lookup of handled events for many events at once."""

from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from bridge.consumer.dead_letter_store import DeadLetters
from bridge.consumer.handled_events import find_unhandled
from tests.integration.bridge.event_builders import course_published, store_event
from tests.support.databases import Database

OUTLINE_HANDLER, ENROLLMENT_HANDLER = "progress.upsert_outline", "progress.start_course"


def test_handled_and_dead_lettered_events_are_not_returned(database: Database):
    handled, dead, new = (store_event(course_published(), uuid4()) for _ in range(3))
    database.execute(
        "INSERT INTO bus.inbox VALUES (:handler, :id, now())", handler=OUTLINE_HANDLER, id=handled.event_id
    )
    DeadLetters().store(OUTLINE_HANDLER, dead, "it crashed")
    database.execute("UPDATE bus.dead_letters SET status = 'discarded'")
    event_ids = [record.event_id for record in (handled, dead, new)]

    assert find_unhandled("progress", {OUTLINE_HANDLER: event_ids, ENROLLMENT_HANDLER: event_ids}) == {
        (OUTLINE_HANDLER, new.event_id),
        *((ENROLLMENT_HANDLER, event_id) for event_id in event_ids),
    }


def test_empty_lookup_returns_empty_set(database: Database):
    assert find_unhandled("progress", {}) == set()


def test_invalid_event_id_raises_database_error(database: Database):
    with pytest.raises(DBAPIError):
        find_unhandled("progress", {OUTLINE_HANDLER: ["no id"]})
