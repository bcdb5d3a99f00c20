"""Start all processes of one state directory in order, find them again and stop them.

stack = Stack(tmp_path, free_base())
stack.start()                      or Stack(…, only=["postgres", "queue"])
os.kill(stack.pid("worker-payments"), signal.SIGKILL)
stack.stop()
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from core.environment import Environment
from ops.dev.demo import PEOPLE_PENDING, is_migrated, is_unused
from ops.dev.ports import OFFSETS, is_free, is_open
from ops.dev.processes import SERVERS, STACK_ENV_VAR, Process
from ops.dev.readiness import accepts_sessions, is_ok, wait
from ops.dev.supervisor import Supervisor
from settings import ROOT, SERVICES

from . import postgres, processes

# All entries that a stack writes into its state directory; reset() deletes nothing else.
_STATE_ENTRIES = (
    "beat",
    "cache",
    PEOPLE_PENDING,
    "logs",
    "mail",
    "metrics",
    "mongo",
    "queue",
    "supervisord.conf",
    "supervisord.pid",
)

START_SECONDS = 120  # maximum for each process; half of it is needed if two cores start several stacks at once


class NotReady(SystemExit):
    """Processes that were not ready in time; they keep running. The message says what to do."""


class Stack:
    """The local platform over one state directory, with ports from ``port_base`` upwards."""

    def __init__(
        self,
        state_dir: Path,
        port_base: int,
        *,
        only: Collection[str] | None = None,
        environ: Mapping[str, str] = os.environ,
        detached: bool = False,
    ) -> None:
        """Create a stack; ``only`` limits it to the named processes, ``environ`` is what they inherit.

        The processes end with this process, however it ends, unless the stack is ``detached``.
        """
        self.state_dir = state_dir.resolve()
        self.port_base = port_base
        self.environ = processes.environment(self.state_dir, port_base, environ)
        self.processes = [
            process
            for process in processes.enabled_processes(self.state_dir, port_base, environ)
            if only is None or process.name in only
        ]
        self.has_own_database = not Environment(environ).is_set("DATABASE_URL")
        self.supervisor = Supervisor(self.state_dir)
        self.start_seconds = START_SECONDS
        self._detached = detached

    def start(self, initial: Collection[str] | None = None) -> bool:
        """Start all processes and return when they are ready; False if the stack was already running.

        ``initial`` limits the start to the named processes; start_remaining() starts the others.
        Raises SystemExit for an occupied port or a failed step, and NotReady for processes that are not ready in time,
        which keep running.
        """
        running = self.supervisor.identifier()
        if running not in (None, self._identifier):
            raise SystemExit(f"Another stack is running over {self.state_dir} ({running}). Stop it first: make down")
        wanted = [process for process in self.processes if initial is None or process.name in initial]
        if running is None:
            self._launch()
        try:
            self._start_in_order(wanted)
        except NotReady:
            raise  # they only need more time
        except BaseException:
            if running is None:
                self.stop()
            raise
        return running is None

    def start_remaining(self) -> None:
        """Start the processes that start() left out, if any."""
        self._start_in_order(self.processes)

    def stop(self) -> bool:
        """End every process, including those that a killed supervisor left behind; False if there was none."""
        running = self.supervisor.identifier() is not None
        if running:
            self._stop_in_order()
        left_over = self.orphans()
        _kill_all(left_over)
        return running or bool(left_over)

    def kill(self) -> None:
        """End every process at once, like a power failure; PostgreSQL by its immediate shutdown."""
        self.supervisor.kill()
        postgres.kill_remaining_processes(postgres.home(self.state_dir) / "data")
        _kill_all(self.orphans())

    def reset(self) -> None:
        """Stop the stack and delete all data and logs."""
        self.stop()
        self.delete()

    def delete(self) -> None:
        """Delete all data and logs of a stopped stack."""
        postgres.remove(self.state_dir)
        for name in _STATE_ENTRIES:
            path = self.state_dir / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def pids(self) -> dict[str, int]:
        """Return the pid of each running process by name; for the gateway the pid of its master."""
        return {state["name"]: state["pid"] for state in self.supervisor.states() if state["pid"]}

    def pid(self, name: str) -> int:
        """Return the pid of the process ``name``. Raises KeyError if it is not running."""
        return self.pids()[name]

    def port(self, name: str) -> int:
        """Return the port of ``name`` in ports.OFFSETS."""
        return self.port_base + OFFSETS[name]

    def log(self, name: str) -> str:
        """Return the current log of the process ``name`` without its rotated files."""
        return (self.supervisor.logs / f"{name}.log").read_text(errors="replace")

    def wait_until_up(self, name: str, timeout_seconds: float = 30) -> None:
        """Return when the process ``name`` is ready (again). Raises TimeoutError."""
        process = next(process for process in self.processes if process.name == name)
        wait(lambda: self._is_ready(process), name, timeout_seconds)

    def orphans(self) -> list[psutil.Process]:
        """Find the running processes of this stack without the supervisor."""
        marked = [process for process in psutil.process_iter() if _belongs_to_stack(process, self.state_dir)]
        # PostgreSQL overwrites its environment with its process title.
        data = postgres.home(self.state_dir) / "data"
        return [*marked, *(process for process in postgres.server_processes(data) if process not in marked)]

    @property
    def _identifier(self) -> str:
        return f"coursebus-{self.port_base}"

    def _launch(self) -> None:
        _kill_all(self.orphans())
        self._require_free_ports()
        self.supervisor.launch(self.processes, self._identifier, self.environ, detached=self._detached)
        wait(lambda: self.supervisor.identifier() is not None, "supervisord", START_SECONDS)

    def _start_in_order(self, wanted: list[Process]) -> None:
        """Start those of ``wanted`` that are not running: first the servers, then the processes that need them."""
        idle = self.supervisor.stopped_processes()
        first = [process for process in wanted if not process.platform]
        platform = [process for process in wanted if process.platform and process.name in idle]
        self.supervisor.start([process.name for process in first if process.name in idle])
        if platform:
            # Of the fakes only push must be up: the notifications worker reads the service account that it writes.
            self._wait([process for process in first if process.name in {*SERVERS, "push"}])
            self._prepare()
            self.supervisor.start([process.name for process in platform])
        self._wait(wanted)

    def _stop_in_order(self) -> None:
        supervisord = self._supervisord()
        names = [state["name"] for state in self.supervisor.states()]
        # Servers stop last, because a worker that finishes its task still needs them.
        servers = [name for name in names if name in SERVERS]
        for group in ([name for name in names if name not in servers], servers):
            self.supervisor.stop(group, timeout_seconds=40)  # longer than the longest stop_seconds
        self.supervisor.shut_down()
        psutil.wait_procs(supervisord, timeout=10)

    def _prepare(self) -> None:
        if not self.has_own_database:
            self._run("migrations", "upgrade")
            return
        # The embedded server trusts every local login, but a role without a password may not log in.
        if not is_migrated(self.port("postgres")):
            passwords = {f"{name.upper()}_DATABASE_PASSWORD": "local" for name in (*SERVICES, "bridge")}
            self._run("migrations", "upgrade", **passwords)
        # Only here: a database of DATABASE_URL may be one that people use. `make seed` adds the courses there.
        if is_unused(self.port("postgres")):
            self._run("ops.dev.seed")

    def _run(self, *module: str, **environ: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *module],
            env={**self.environ, **environ},
            cwd=ROOT,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode:
            raise SystemExit(f"{done.stdout}\npython -m {' '.join(module)} failed with {done.returncode}.")

    def _wait(self, expected: list[Process]) -> None:
        for process in expected:
            try:
                wait(partial(self._is_ready, process), process.name, self.start_seconds)
            except TimeoutError:
                late = [each.name for each in expected if not self._is_ready(each)] or [process.name]
                raise NotReady(self._explain(late)) from None

    def _explain(self, late: list[str]) -> str:
        """Return what is known about the processes that are not ready."""
        states = {state["name"]: f"{state['statename']} {state['description']}" for state in self.supervisor.states()}
        logs = [f"  {name:22}{states.get(name, ''):40}{self.supervisor.logs / name}.log" for name in late]
        last_lines = [f"    {line}" for line in self.log(late[0]).splitlines()[-20:]]
        lines = [f"The last lines of {late[0]}:", *last_lines, f"Not ready after {self.start_seconds} s:", *logs]
        return "\n".join(lines)

    def _is_ready(self, process: Process) -> bool:
        port = process.port(self.port_base)
        if process.name == "gateway":
            return is_ok(f"http://127.0.0.1:{port}/readyz")
        if process.name == "web":
            return is_ok(f"http://127.0.0.1:{port}/livez")
        if process.name == "postgres":
            return accepts_sessions(self.port("postgres"))
        return is_open(port) if port else process.name in self.pids()

    def _require_free_ports(self) -> None:
        for process in self.processes:
            port = process.port(self.port_base)
            if port and not is_free(port):
                raise SystemExit(
                    f"Port {port} of {process.name} is in use by another program. "
                    f"Stop that program, or move all ports: make up PORT_BASE={self.port_base + 1000}"
                )

    def _supervisord(self) -> list[psutil.Process]:
        try:
            return [psutil.Process(int((self.state_dir / "supervisord.pid").read_text()))]
        except (OSError, ValueError, psutil.NoSuchProcess):
            return []  # supervisord is about to end


def _belongs_to_stack(process: psutil.Process, state_dir: Path) -> bool:
    try:
        return process.environ().get(STACK_ENV_VAR) == str(state_dir) and process.pid != os.getpid()
    except psutil.Error:
        return False  # the process has ended or belongs to another user


def _kill_all(left_over: list[psutil.Process]) -> None:
    for process in left_over:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left_over, timeout=10)
