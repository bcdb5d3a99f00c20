"""The servers of a test run, started when the first test needs them, ended with the run."""

from ops.dev.ports import is_open
from ops.dev.processes import SERVERS
from ops.dev.stack import Stack
from tests.support import environment
from tests.support.locks import exclusive_start


class Servers:
    """One stack for the whole run: at first what keeps and carries data, the platform for who asks for it."""

    def __init__(self) -> None:
        self.stack = Stack(environment.STATE_DIR, environment.PORT_BASE, environ=environment.PLATFORM_ENVIRON)
        self.stack.processes = [each for each in self.stack.processes if not self._is_up(each)]

    def start(self) -> None:
        """Start PostgreSQL, both Valkeys, Kafka, MongoDB and the mail sink."""
        self.stack.start(SERVERS)

    def start_platform(self) -> None:
        """Start all the rest: the fakes, the gateway, the workers, the bridge and beat."""
        with exclusive_start():
            self._reset_kafka()
            self.stack.start_remaining()

    def _reset_kafka(self) -> None:
        # Plain tests leave hundreds, which all of the platform's consumers would be told of. They are in memory only.
        if "kafka" in self.stack.pids():
            self.stack.supervisor.stop(["kafka"], timeout_seconds=30)
            self.stack.supervisor.start(["kafka"])
            self.stack.wait_until_up("kafka")

    def stop(self) -> None:
        """End every process, and delete what they have written. Nobody needs it: it need not end in peace."""
        self.stack.kill()
        self.stack.delete()

    def _is_up(self, process) -> bool:
        port = process.port(environment.PORT_BASE)
        return port is not None and is_open(port)
