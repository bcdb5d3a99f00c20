"""Statements that are sent together keep the meaning of a transaction."""

from collections.abc import Iterator

import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.orm import Session

from core.db import execute_later, session_factory
from tests.support.databases import Database
from tests.support.tasks import Notes

_INSERT = "INSERT INTO progress.notes (note) VALUES (%s)"


@pytest.fixture
def session(database: Database, notes: Notes) -> Iterator[Session]:
    with session_factory("progress")() as session:
        yield session


def status(session: Session) -> int:
    return session.connection().connection.dbapi_connection.get_transaction_status()  # type: ignore[union-attr]


def test_deferred_statements_keep_their_order(session: Session, notes: Notes):
    execute_later(session, _INSERT, ("a",))
    execute_later(session, _INSERT, ("b % c",))
    assert session.execute(text("SELECT note FROM progress.notes ORDER BY seq")).all() == [("a",), ("b % c",)]
    session.execute(text("INSERT INTO progress.notes (note) VALUES (:note)"), [{"note": "d"}, {"note": "e"}])
    execute_later(session, _INSERT, ("f",))
    assert notes() == []
    session.commit()

    assert notes() == ["a", "b % c", "d", "e", "f"]


def test_rollback_discards_what_was_not_sent(session: Session, notes: Notes):
    execute_later(session, _INSERT, ("a",))
    assert status(session) == TRANSACTION_STATUS_IDLE  # not even BEGIN was sent
    session.rollback()
    execute_later(session, _INSERT, ("b",))
    session.commit()

    assert notes() == ["b"]


@pytest.mark.parametrize("statement", ["SELEC 1", "SELECT 1 / 0"])
def test_transaction_cannot_commit_after_a_caught_error(session: Session, notes: Notes, statement: str):
    """After a syntax error PostgreSQL has not even executed the BEGIN that was sent with it."""
    execute_later(session, _INSERT, ("a",))
    with pytest.raises(DBAPIError):
        session.execute(text(statement))
    execute_later(session, _INSERT, ("b",))
    with pytest.raises(DBAPIError, match="InFailedSqlTransaction"):
        session.commit()
    session.rollback()
    execute_later(session, _INSERT, ("c",))
    session.commit()

    assert notes() == ["c"]


def test_statement_that_cannot_be_sent_loses_nothing(session: Session, notes: Notes):
    execute_later(session, _INSERT, ("a",))
    with pytest.raises(ValueError, match="NUL"):
        session.connection().exec_driver_sql(_INSERT, ("\0",))
    session.commit()

    assert notes() == ["a"]


def test_failed_statement_rolls_everything_back(session: Session, notes: Notes):
    execute_later(session, _INSERT, ("a",))
    execute_later(session, "SELECT 1 / 0")
    execute_later(session, _INSERT, ("b",))
    with pytest.raises(DataError):
        session.commit()
    session.rollback()
    execute_later(session, _INSERT, ("c",))
    session.commit()

    assert notes() == ["c"]


def test_savepoint_ends_with_the_error_of_its_own_statement(session: Session, notes: Notes):
    execute_later(session, _INSERT, ("a",))
    with pytest.raises(DataError), session.begin_nested():
        execute_later(session, "SELECT 1 / 0")
    session.commit()

    assert notes() == ["a"]
