"""The commands of docs/backup.md restore PostgreSQL to the moment before a mistake."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from ops.dev import postgres
from ops.dev.ports import free_base, is_open
from ops.dev.postgres import server_identity
from settings import ROOT
from tests.support.own_postgres import ADMIN, OwnPostgres, run, running_postgres
from tests.support.polling import eventually

pytestmark = pytest.mark.slow

INSERT = """
    INSERT INTO integrations.events (id, type, source, subject, sequence, occurred_at, schema, data, logged_at)
    VALUES (gen_random_uuid(), 'USER_CREATED', '/users', '{subject}', 1, now(), 's', '{{}}', now())
"""
SUBJECTS = "SELECT subject FROM integrations.events ORDER BY position"


class Recovery:
    """A server, and the directories of the commands in docs/backup.md beside its data."""

    def __init__(self, server: OwnPostgres, home: Path) -> None:
        self.server = server
        self.archive, self.base, self.data = (home / name for name in ("archive", "base", "restored"))
        names = {"BIN": server.binaries, "DATABASE_URL": server.url()}
        names |= {"ARCHIVE": self.archive, "BASE": self.base, "DATA": self.data}
        self._environ = {name: str(value) for name, value in names.items()} | {"PATH": os.environ["PATH"]}
        section = (ROOT / "docs" / "backup.md").read_text().partition("## Restore to a point in time\n")[2]
        archive_and_copy, self.restore = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)[:2]
        self.receive, self.copy = archive_and_copy.replace("&\n", "\n").splitlines()

    def start(self, script: str) -> subprocess.Popen[bytes]:
        """Start a command as the user of PostgreSQL."""
        command = ["sh", "-c", script]
        return subprocess.Popen(command, cwd="/", env=self._environ, stderr=subprocess.DEVNULL, **server_identity())

    def run(self, script: str) -> None:
        """Run commands as the user of PostgreSQL. Raises AssertionError if they fail."""
        assert self.start(f"set -e\n{script}").wait() == 0, script

    @contextmanager
    def archived(self) -> Iterator[None]:
        """Archive the write-ahead log while the block runs."""
        self.run(f"mkdir -m 700 {self.archive}")
        with self.start(f"exec {self.receive}") as receiver:
            eventually(lambda: any(self.archive.iterdir()), "the first segment")
            yield
            receiver.terminate()

    @contextmanager
    def recovered(self) -> Iterator[str]:
        """Run a server on the restored files; yields its URL when the recovery has ended."""
        port = free_base()
        url = self.server.url().replace(f":{self.server.port}/", f":{port}/")

        def has_recovered() -> bool:
            try:
                return is_open(port) and run(url, "SELECT pg_is_in_recovery()") == [False]
            except OperationalError:
                return False

        options = f"--port={port} --max_connections=200 --listen_addresses=127.0.0.1 --unix_socket_directories="
        with self.start(f'exec "$BIN/postgres" -D "$DATA" {options}') as running:
            eventually(has_recovered, "the end of the recovery")
            yield url
            running.terminate()


@pytest.fixture
def recovery(tmp_path: Path) -> Iterator[Recovery]:
    with running_postgres(tmp_path) as server:
        home = postgres.home(tmp_path)
        rules = home / "data" / "pg_hba.conf"
        rules.write_text(f"host replication {ADMIN} 127.0.0.1/32 trust\n{rules.read_text()}")
        server.execute("SELECT pg_reload_conf()")
        assert server.migrate(server.url()).returncode == 0
        yield Recovery(server, home)


def test_documented_commands_restore_the_moment_before_a_mistake(recovery: Recovery):
    server = recovery.server
    with recovery.archived():
        recovery.run(recovery.copy)
        server.execute(INSERT.format(subject="after the copy"), "SELECT pg_create_restore_point('good')")
        server.execute("DELETE FROM integrations.events", INSERT.format(subject="after the mistake"))
        [segment] = run(server.url(), "SELECT pg_walfile_name(pg_switch_wal())")
        eventually((recovery.archive / segment).exists, "the archived segment")
    recovery.run(recovery.restore)

    with recovery.recovered() as url:
        restored = run(url, SUBJECTS)
        check = [sys.executable, "-m", "ops.restore_check", "--apply"]
        environ = os.environ | {"DATABASE_URL": url}
        checked = subprocess.run(check, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)

    assert restored == ["after the copy"]
    assert "Mended: " in checked.stdout, checked.stderr
    assert "positions of the event feed" in checked.stdout
