"""Configure, start and control supervisord."""

import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, Fault, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport

from ops.dev.child_process import popen_with_parent
from ops.dev.processes import Process
from ops.dev.readiness import wait
from settings import ROOT

_HEAD = """\
[unix_http_server]
file = {socket}
chmod = 0700

[supervisord]
identifier = {identifier}
nodaemon = true
logfile = {logs}/supervisord.log
pidfile = {state_dir}/supervisord.pid
childlogdir = {logs}
directory = {root}
{user}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{socket}
"""

_PROGRAM = """
[program:{name}]
command = {command}
environment = {environ}
autostart = false
autorestart = true
startsecs = 1
startretries = 1000000
stopsignal = {stop_signal}
stopwaitsecs = {stop_seconds}
killasgroup = true
redirect_stderr = true
stdout_logfile = {logs}/{name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 2
"""


class Supervisor:
    """The supervisord of one state directory, running or not."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.logs = state_dir / "logs"
        self._socket = _socket(state_dir)
        self._process: subprocess.Popen[bytes] | None = None  # None if another process started it

    def launch(self, processes: list[Process], identifier: str, environ: Mapping[str, str], *, detached: bool) -> None:
        """Start supervisord; ``processes`` are started by start()."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for directory in ("mail", "mongo"):
            (self.state_dir / directory).mkdir(exist_ok=True)
        path = self.state_dir / "supervisord.conf"
        path.write_text(self._configuration(processes, identifier))
        with (self.logs / "supervisord.err").open("w") as errors:
            # Its own session: Ctrl-C in the terminal must reach only `make run`, which stops all processes in order.
            launch = subprocess.Popen if detached else popen_with_parent
            self._process = launch(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(path)],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # supervisord writes the same lines into its log
                stderr=errors,
                start_new_session=True,
            )

    def identifier(self) -> str | None:
        """Return the identifier given at launch, or None if supervisord does not answer."""
        try:
            return str(self._call("getIdentification"))
        except (OSError, HTTPException, Error):
            return None

    def start(self, names: list[str]) -> None:
        """Start the processes without waiting for them. Those that another command has started are left alone."""
        for name in names:
            try:
                self._call("startProcess", name, False)  # noqa: FBT003 XML-RPC has no keyword arguments
            except Fault as error:
                if error.faultCode != Faults.ALREADY_STARTED:
                    raise

    def stop(self, names: Collection[str], timeout_seconds: float) -> None:
        """Stop the processes concurrently and return when they have ended. Raises TimeoutError."""
        for name in names:
            # Fault: the process is not running.
            with suppress(Fault):
                self._call("stopProcess", name, False)  # noqa: FBT003 XML-RPC has no keyword arguments
        wait(lambda: not self._running(names), f"{', '.join(names)} (stopping)", timeout_seconds)

    def _running(self, names: Collection[str]) -> list[str]:
        return [state["name"] for state in self.states() if state["name"] in names and state["pid"]]

    def states(self) -> list[dict[str, Any]]:
        """Return ``name``, ``statename``, ``pid``, ``description`` and more of each process."""
        return list(self._call("getAllProcessInfo"))

    def stopped_processes(self) -> set[str]:
        """Return the processes that were not started or were stopped."""
        return {state["name"] for state in self.states() if state["statename"] == "STOPPED"}

    def shut_down(self) -> None:
        """Ask supervisord to stop the remaining processes and itself."""
        self._call("shutdown")
        if self._process:
            self._process.wait(timeout=20)

    def kill(self) -> None:
        """Kill a supervisord that this process launched. The processes it started keep running."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def _call(self, method: str, *arguments: object) -> Any:
        # Closed at once: a socket left to the garbage collector causes a warning, which fails a test.
        with closing(SupervisorTransport(None, None, f"unix://{self._socket}")) as transport:
            return getattr(ServerProxy("http://127.0.0.1", transport=transport).supervisor, method)(*arguments)

    def _configuration(self, processes: list[Process], identifier: str) -> str:
        head = _HEAD.format(
            socket=_literal(str(self._socket)),
            identifier=identifier,
            logs=_literal(str(self.logs)),
            state_dir=_literal(str(self.state_dir)),
            root=_literal(str(ROOT)),
            # Without this line supervisord warns that it runs as root.
            user="user = root" if os.geteuid() == 0 else "",
        )
        return head + "".join(
            _PROGRAM.format(
                name=process.name,
                command=_literal(shlex.join(process.command)),
                environ=process.environ,
                stop_signal=process.stop_signal,
                stop_seconds=process.stop_seconds,
                logs=_literal(str(self.logs)),
            )
            for process in processes
        )


def _literal(text: str) -> str:
    # supervisord expands %(name)s in every value.
    return text.replace("%", "%%")


def _socket(state_dir: Path) -> Path:
    # A socket path is limited to 107 bytes, and supervisord first binds to a longer name beside it.
    path = state_dir / "supervisor.sock"
    if len(bytes(path)) <= 90:  # noqa: PLR2004 explained above
        return path
    return Path(tempfile.gettempdir()) / f"coursebus-{hashlib.sha256(bytes(state_dir)).hexdigest()[:16]}.sock"
