"""How many statements the busiest tasks need, counted; what every transaction begins with is not theirs."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from models.courses.catalogue import Filters
from tests.courses.factories import make_catalogue
from tests.progress.builders import Learner
from workers.courses.catalogue import list_courses

PAGE = {"sort": None, "after": None, "limit": 20}


@contextmanager
def at_most(statements: int, engine: Engine) -> Iterator[None]:
    """Fails where the block has the database do more. What SAVEPOINT brackets it is the fixture's own."""
    seen: list[str] = []

    def note(_connection, _cursor, statement: str, *_: object) -> None:
        if "SAVEPOINT" not in statement:
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(seen) <= statements, seen


def test_completion_takes_eight_statements(session: Session, plain_engine: Engine):
    learner = Learner(session, lessons=2)
    for lesson_id in learner.lessons:  # the last one certifies as well
        session.flush()
        session.expunge_all()
        with at_most(8, plain_engine):
            learner.complete(lesson_id)
            session.flush()


def test_progress_takes_one_statement(session: Session, plain_engine: Engine):
    learner = Learner(session)
    session.flush()
    session.expunge_all()
    with at_most(1, plain_engine):
        learner.progress()


@pytest.mark.parametrize("asked", [{}, {"facets": True, "total": True}, {"total": True}], ids=str)
def test_course_list_takes_two_statements(session: Session, plain_engine: Engine, asked: dict[str, bool]):
    category = make_catalogue(session, {}, {})
    session.flush()
    with at_most(2, plain_engine):
        list_courses(session, filters=Filters(category=category), **PAGE, **{"facets": False, "total": False, **asked})


def test_misspelled_search_takes_two_statements(session: Session, plain_engine: Engine):
    name = f"zx{uuid4().hex[:10]}"
    make_catalogue(session, {"title": f"{name} for all"})
    session.flush()
    with at_most(2, plain_engine):
        found = list_courses(session, filters=Filters(q=f"{name[:-1]}q"), **PAGE, facets=False, total=False)
    assert len(found["items"]) == 1
