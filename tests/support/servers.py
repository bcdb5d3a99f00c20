"""The servers of a test run, started when the first test needs them and stopped at its end."""

import subprocess
import sys

from ops.dev.ports import is_open
from ops.dev.processes import SERVERS
from ops.dev.stack import Stack
from settings import ROOT
from tests.support import environment
from tests.support.locks import exclusive_start


class Servers:
    """One stack for the whole run: databases, queues and broker first; the platform when a test requests it."""

    def __init__(self) -> None:
        self.stack = Stack(environment.STATE_DIR, environment.PORT_BASE, environ=environment.PLATFORM_ENVIRON)
        self.stack.processes = [each for each in self.stack.processes if not self._is_up(each)]

    @property
    def deletes_databases(self) -> bool:
        """Whether ``stop`` deletes the databases, because this run has started PostgreSQL."""
        return any(process.name == "postgres" for process in self.stack.processes)

    def start(self) -> None:
        """Start PostgreSQL, both Valkeys, Kafka, MongoDB and the mail sink."""
        self.stack.start(SERVERS)

    def start_platform(self) -> None:
        """Start the fakes, the gateway, the workers, the bridge and beat."""
        with exclusive_start():
            self._reset_kafka()
            self.stack.start_remaining()
            if not self.stack.has_own_database:
                subprocess.run(
                    [sys.executable, "-m", "ops.dev.seed"], cwd=ROOT, env=self.stack.environ, check=True
                )  # the tests of the platform use the demo courses

    def _reset_kafka(self) -> None:
        # Other tests leave hundreds of topics, whose metadata all consumers of the platform would get. The topics are
        # in memory only, so a restart removes them.
        if "kafka" in self.stack.pids():
            self.stack.supervisor.stop(["kafka"], timeout_seconds=30)
            self.stack.supervisor.start(["kafka"])
            self.stack.wait_until_up("kafka")

    def stop(self) -> None:
        """Kill every process and delete their files. No data is needed any more, so the processes are not drained."""
        self.stack.kill()
        self.stack.delete()

    def _is_up(self, process) -> bool:
        port = process.port(environment.PORT_BASE)
        return port is not None and is_open(port)
