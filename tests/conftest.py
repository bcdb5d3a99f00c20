"""One stack of real servers for the whole run; a transaction that is rolled back for each plain-function test."""

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

import settings


@pytest.fixture
def session() -> Iterator[Session]:
    """A session on the migrated database, undone after the test, commits and all."""
    engine = create_engine(settings.DATABASE_URL)
    with engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session
        transaction.rollback()
    engine.dispose()
