"""A PostgreSQL server of one test module, with passwords and without the roles of Coursebus."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from ops.dev import postgres
from ops.dev.ports import free_base
from ops.dev.stack import Stack
from settings import ROOT
from tests.support import environment

ADMIN = "coursebus"  # the superuser of the embedded server


class OwnPostgres:
    """A running server whose users other than the superuser need a password."""

    def __init__(self, stack: Stack) -> None:
        self.port = stack.port("postgres")
        self.binaries = postgres.binaries(postgres.home(stack.state_dir))

    def url(self, user: str = ADMIN, *, database: str = "coursebus", password: str | None = None) -> str:
        url = URL.create("postgresql", user, password, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    def execute(self, *statements: str, database: str = "coursebus") -> None:
        """Run statements as the superuser."""
        run(self.url(database=database), *statements)

    def migrate(self, url: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m migrations upgrade`` on ``url``."""
        return subprocess.run(
            [sys.executable, "-m", "migrations", "upgrade"],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": url} | variables,
            capture_output=True,
            text=True,
            check=False,
        )


def run(url: str, *statements: str) -> list[Any]:
    """Run statements in one session; return the first column of the rows of the last."""
    driver_url = make_url(url).set(drivername="postgresql+psycopg2")
    engine = create_engine(driver_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        results = [connection.execute(text(statement)) for statement in statements]
        return [row[0] for row in results[-1]] if results[-1].returns_rows else []


@contextmanager
def running_postgres(directory: Path) -> Iterator[OwnPostgres]:
    """Run a server with its data in ``directory``."""
    directory.chmod(0o711)  # PostgreSQL does not run as root and must be able to traverse it
    stack = Stack(directory, free_base(), only=["postgres"], environ=environment.PLATFORM_ENVIRON)
    stack.start()
    server = OwnPostgres(stack)
    try:
        rules = postgres.home(stack.state_dir) / "data" / "pg_hba.conf"
        rules.write_text(f"host all {ADMIN} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        stack.kill()
        stack.delete()
