"""Retention of the audit log."""

from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

import settings
from core.bus.staff_actions import StaffAction
from core.db import session_factory, utc_now
from tests.support.databases import Database
from workers.users.audit_log import prune_audit_log


class UsersTransactions:
    """``Transactions`` of the users service, without an idempotency claim."""

    def begin(self) -> AbstractContextManager[Session]:
        return session_factory("users").begin()


def add_entry(done_at: datetime) -> None:
    with session_factory("users").begin() as session:
        entry = StaffAction.create("users.set_roles", actor="user:1", subject={}, request_id=None)
        entry.done_at = done_at
        session.add(entry)


def ages_in_days(database: Database) -> list[int]:
    return sorted((utc_now() - at).days for (at,) in database.rows("SELECT done_at FROM bus.staff_actions"))


@pytest.mark.parametrize(("retention_days", "kept"), [(0, [1, 399, 401]), (400, [1, 399])])
def test_entries_are_deleted_after_their_retention(
    database: Database, monkeypatch, retention_days: int, kept: list[int]
):
    monkeypatch.setattr(settings, "AUDIT_RETENTION_DAYS", retention_days)
    for age in (401, 399, 1):
        add_entry(utc_now() - timedelta(days=age))

    prune_audit_log(UsersTransactions())

    assert ages_in_days(database) == kept


def test_database_keeps_entries_for_a_year(database: Database):
    add_entry(utc_now() - timedelta(days=364))

    with pytest.raises(DBAPIError, match="at least 365 days"), session_factory("users").begin() as session:
        StaffAction.prune(session, older_than=utc_now() - timedelta(days=363), limit=10)
    with pytest.raises(DBAPIError, match="permission denied"), session_factory("users").begin() as session:
        session.execute(StaffAction.__table__.delete())

    assert ages_in_days(database) == [364]
