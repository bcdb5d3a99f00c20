"""``python -m bridge`` runs the bridge: one relay per database and one consumer per service that has handlers.

With arguments it is the operators' command line for events: ``python -m bridge --help``.
"""

import gc
import signal
import sys
import threading

import settings
from core import command_line, log, tracing
from settings.checks import validate_production_settings

from . import cli, metrics
from .admin.audit import Auditor
from .consumer.dead_letter_store import DeadLetters
from .consumer.dispatch import Dispatcher
from .consumer.service_consumer import ServiceConsumer
from .publisher.relay import Relay
from .reaching import SERVER_ERRORS, unreachable
from .topics import TopicIdWatcher

# Objects allocated between two runs of the garbage collector. A batch of messages creates some 50,000 objects, none of
# them in a cycle: with the default of 700, a third of the time of reading a backlog was spent in the collector.
GC_THRESHOLD = 100_000


class Bridge:
    """All threads of the process."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._dead_letters = DeadLetters()
        self._stop_dispatcher = threading.Event()
        self._dispatcher = Dispatcher(self._stop_dispatcher, self._dead_letters)
        self._auditor = Auditor(self._dispatcher, self.stop)
        databases = sorted({settings.direct_database_url(service) for service in settings.SERVICES})
        self._relays = [Relay(url, self.stop) for url in databases]
        self._topics = TopicIdWatcher(self.stop)
        self._consumers = [
            ServiceConsumer(service, self._dispatcher, self._topics, self.stop)
            for service in settings.SERVICES
            if ServiceConsumer.topics_of(service)
        ]

    def run(self) -> int:
        """Run until stopped (returns 0) or until a thread dies (returns 1; the supervisor restarts the process)."""
        self._dead_letters.reload_blocked_keys()
        threads = [self._dispatcher, self._topics, *self._relays, *self._consumers, self._auditor]
        for thread in threads:
            thread.start()
        while not self.stop.wait(1):
            if not all(thread.is_alive() for thread in threads):
                self.stop.set()
                return 1
        # Stop the dispatcher last: while they drain, the consumers still need the replies to events that are in flight.
        for thread in (*self._relays, *self._consumers):
            thread.join(15)
        self._stop_dispatcher.set()
        self._dispatcher.join(1)
        return 0


def serve() -> int:
    """Run until SIGTERM."""
    validate_production_settings("bridge")
    log.configure("bridge")
    tracing.configure("bridge")
    bridge = Bridge()
    metrics.serve()
    gc.freeze()  # what exists now lives as long as the process
    gc.set_threshold(GC_THRESHOLD)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: bridge.stop.set())
    try:
        return bridge.run()
    except SERVER_ERRORS as error:
        if not (line := unreachable(error)):
            raise
        print(line, file=sys.stderr)
        return 1


if __name__ == "__main__":
    command_line.run(lambda: cli.main(sys.argv[1:]) if sys.argv[1:] else serve())
