"""Databases for tests: copies of one migrated template."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

import settings
from core import db
from tests.support import environment

_TEMPLATE = f"{environment.RUN}_template"


class Database:
    """A migrated database, accessed as the owner without the roles of the services."""

    def __init__(self, url: str) -> None:
        self.url = url
        # A chaos test may have restarted PostgreSQL since the last use.
        self._engine = create_engine(url, pool_pre_ping=True)

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that ``sql`` selects."""
        with self._engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(sql), values)]

    def value(self, sql: str, **values: Any) -> Any:
        """Return the single value that ``sql`` selects."""
        [[value]] = self.rows(sql, **values)
        return value

    def count(self, table: str) -> int:
        return int(self.value(f"SELECT count(*) FROM {table}"))  # noqa: S608 constant in the test

    def execute(self, sql: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(sql), values)


def migrate_template() -> None:
    """Create the template database. PostgreSQL copies it only while no client is connected to it."""
    url = _database_url(_TEMPLATE)
    _on_server(f"CREATE DATABASE {_TEMPLATE}")
    upgrade = [sys.executable, "-m", "migrations", "upgrade"]
    subprocess.run(upgrade, cwd=settings.ROOT, env=os.environ | {"DATABASE_URL": url}, check=True)


def create_database(name: str) -> Database:
    """Create a database of this run with all tables and no rows."""
    _on_server(f"CREATE DATABASE {environment.RUN}_{name} TEMPLATE {_TEMPLATE}")
    return Database(_database_url(f"{environment.RUN}_{name}"))


def drop_all() -> None:
    """Drop every database of this run, on a server from DATABASE_URL, which outlives the run."""
    for (name,) in Database(environment.SERVER_URL).rows(
        "SELECT datname FROM pg_database WHERE datname LIKE :ours", ours=f"{environment.RUN}%"
    ):
        _on_server(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def using_database(database: Database) -> Iterator[None]:
    """Make ``core.db`` of this process use ``database`` within the block."""
    before = settings.DATABASE_URL
    _use(database.url)
    try:
        yield
    finally:
        _use(before)


def clear(database: Database) -> None:
    """Delete all rows, which is ten times as fast as a new copy."""
    database.execute(_CLEAR)


_CLEAR = """
    DO $$ DECLARE name text; BEGIN
        SET LOCAL session_replication_role = replica;  -- foreign keys are not checked
        FOR name IN
            SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tablename <> 'alembic_version'
        LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
    END $$"""


def _use(url: str) -> None:
    db.engine.cache_clear()
    db.session_factory.cache_clear()
    settings.DATABASE_URL = url


def _database_url(name: str) -> str:
    return make_url(environment.SERVER_URL).set(database=name).render_as_string(hide_password=False)


def _on_server(sql: str) -> None:
    engine = create_engine(environment.SERVER_URL, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(sql))
