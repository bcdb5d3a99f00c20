"""Which events were handled before, asked for many at once."""

from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from bridge.deadletters import DeadLetters
from bridge.known import known_to
from tests.bridge.past import course_published, tell
from tests.support.databases import Database

KEEP, START = "progress.keep_outline", "progress.start_course"


def test_handled_events_and_dead_letters_of_the_same_handler_are_known(database: Database):
    handled, dead, new = (tell(course_published(), uuid4()) for _ in range(3))
    database.execute("INSERT INTO bus.inbox VALUES (:handler, :id, now())", handler=KEEP, id=handled.event_id)
    DeadLetters().bury(KEEP, dead, "it crashed")
    database.execute("UPDATE bus.dead_letters SET status = 'discarded'")
    wanted = [(handler, each.event_id) for each in (handled, dead, new) for handler in (KEEP, START)]

    assert known_to("progress", wanted) == {(KEEP, handled.event_id), (KEEP, dead.event_id)}


def test_nothing_is_asked_for_nothing(database: Database):
    assert known_to("progress", []) == set()


def test_an_id_that_is_none_is_an_error_of_the_database(database: Database):
    with pytest.raises(DBAPIError):
        known_to("progress", [(KEEP, "no id")])
