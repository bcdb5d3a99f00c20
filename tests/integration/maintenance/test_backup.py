"""The commands of docs/backup.md really back up and restore a database."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import ROOT
from tests.support.own_postgres import OwnPostgres, run, running_postgres

INSERT_USER = """
    INSERT INTO users.users (id, version, sub, email, locale, timezone, roles, created_at)
    VALUES (gen_random_uuid(), 1, 'auth0|1', 'ann@example.com', 'en', 'UTC', '[]', now())
"""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[OwnPostgres, OwnPostgres]]:
    """Return a server with data and a new one."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    tmp_path.chmod(0o711)
    with running_postgres(tmp_path / "old") as old, running_postgres(tmp_path / "new") as new:
        yield old, new


def commands(heading: str) -> str:
    """Return the first block of commands below a heading of docs/backup.md: those for the embedded server."""
    section = (ROOT / "docs" / "backup.md").read_text().partition(f"## {heading}\n")[2]
    block = re.search(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    assert block
    return block[1]


def test_documented_commands_restore_everything_on_a_new_server(
    servers: tuple[OwnPostgres, OwnPostgres], tmp_path: Path
):
    old, new = servers
    assert old.migrate(old.url()).returncode == 0
    old.execute(INSERT_USER)
    backup, restore = (
        re.sub(r"coursebus\.dump", str(tmp_path / "coursebus.dump"), commands(heading))
        for heading in ("Back up", "Restore")
    )

    script = f"set -e\nDATABASE_URL={old.url()}\n{backup}\nDATABASE_URL={new.url()}\n{restore}"
    completed = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert completed.returncode == 0, completed.stderr
    restored = new.url(database="restored")
    assert run(restored, "SELECT email FROM users.users") == ["ann@example.com"]
    tables = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname !~ '^pg_|^information' ORDER BY 1"
    assert run(restored, tables) == run(old.url(), tables)
    # The grants of the services are restored, and the next tables of a schema will have them, too.
    assert run(restored, "SET ROLE coursebus_users", "SELECT count(*) FROM users.users") == [1]
    defaults = "SELECT defaclacl::text FROM pg_default_acl ORDER BY 1"
    assert run(restored, defaults) == run(old.url(), defaults)
