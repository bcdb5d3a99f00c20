"""Steps of the schema: each can be taken back, and one that failed at its end can run again."""

import os
import re
import subprocess
import sys

import pytest

from settings import ROOT
from tests.support import databases
from tests.support.databases import Database

STEPS = sorted((ROOT / "migrations" / "versions").glob("[0-9]*.py"))
COMMITTED_IN_PARTS = [path for path in STEPS if "autocommit_block" in path.read_text().partition("def downgrade")[0]]
FIRST_WITH_DOWNGRADE = "0010"  # the steps before it are older than the first release

# Runs each of the steps again, as if its version had not been stored.
_REPEAT = """
from sqlalchemy import create_engine, text
import settings
from migrations.__main__ import main
engine = create_engine(settings.direct_database_url("users"), isolation_level="AUTOCOMMIT")
for revision in {revisions}:
    before = f"{{int(revision) - 1:04}}"
    with engine.connect() as connection:
        connection.execute(text("UPDATE public.alembic_version SET version_num = :before"), {{"before": before}})
    main("upgrade", revision)
"""
_OBJECTS = """
    SELECT format('%s %s', indexrelid::regclass, pg_get_indexdef(indexrelid)) FROM pg_index WHERE indisvalid
        AND indrelid::regclass::text ~ '^(bus|users|courses|payments|progress|notifications|integrations)[.]'
    UNION ALL SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
    UNION ALL SELECT format('%s %s', tgrelid::regclass, tgname) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT format('%s %s %s', attrelid::regclass, attname, atttypid::regtype) FROM pg_attribute
        WHERE attnum > 0 AND NOT attisdropped
        AND attrelid::regclass::text ~ '^(bus|users|courses|payments|progress|notifications|integrations)[.]'
    ORDER BY 1"""


@pytest.fixture(scope="module")
def own() -> Database:
    return databases.create_database("migrations")


def run(database: Database, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def schema(database: Database) -> list[str]:
    return [text for (text,) in database.rows(_OBJECTS)]


def test_steps_are_taken_back_and_done_again(own: Database):
    before = schema(own)

    run(own, "-m", "migrations", "downgrade", FIRST_WITH_DOWNGRADE)
    run(own, "-m", "migrations", "upgrade")

    assert schema(own) == before


def test_step_that_failed_at_its_end_runs_again(own: Database):
    before, revisions = schema(own), [path.name[:4] for path in COMMITTED_IN_PARTS]
    assert len(revisions) > 1

    run(own, "-c", _REPEAT.format(revisions=revisions))

    assert schema(own) == before


def test_concurrent_index_drops_what_an_interrupted_attempt_left():
    for path in STEPS:
        assert not re.search(r"CREATE (UNIQUE )?INDEX CONCURRENTLY", path.read_text()), (
            f"{path.name}: call create_index_concurrently"
        )
