"""PgBouncer in transaction mode in front of a server of ``own_postgres``."""

import os
import pwd
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

from ops.dev.child_process import popen_with_parent
from ops.dev.ports import free_base, is_open
from tests.support.own_postgres import OwnPostgres
from tests.support.polling import eventually

_UNPRIVILEGED = 65534  # PgBouncer does not run as root
MISSING = "" if shutil.which("pgbouncer") else "pgbouncer is not installed"


class PgBouncer:
    """A running pooler; ``url`` is an address of it."""

    def __init__(self, port: int) -> None:
        self._port = port

    def url(self, user: str, password: str = "") -> str:
        url = URL.create("postgresql+psycopg2", user, password or None, "127.0.0.1", self._port, "coursebus")
        return url.render_as_string(hide_password=False)


@contextmanager
def running_pgbouncer(directory: Path, server: OwnPostgres, passwords: Mapping[str, str]) -> Iterator[PgBouncer]:
    """Run a pooler with one server connection for each user: every transaction of a user is executed on the same."""
    port = free_base()
    users = directory / "users.txt"
    users.write_text("".join(f'"{user}" "{password}"\n' for user, password in passwords.items()))
    config = directory / "pgbouncer.ini"
    config.write_text(
        f"""
        [databases]
        coursebus = host=127.0.0.1 port={server.port} dbname=coursebus
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = scram-sha-256
        auth_file = {users}
        pool_mode = transaction
        default_pool_size = 1
        max_client_conn = 100
        {f"user = {pwd.getpwuid(_UNPRIVILEGED).pw_name}" if os.geteuid() == 0 else ""}
        """.replace("        ", "")
    )
    config.chmod(0o644)
    users.chmod(0o644)
    with (
        (directory / "pgbouncer.log").open("ab") as log,
        popen_with_parent(["pgbouncer", str(config)], stdout=log, stderr=log) as process,
    ):
        try:
            eventually(lambda: is_open(port), "pgbouncer")
            yield PgBouncer(port)
        finally:
            process.kill()
