"""Define where each process listens: an offset from ``PORT_BASE``, so that one number moves all ports."""

import random
import socket

OFFSETS = {
    "gateway": 0,
    "stream": 1,
    "web": 2,
    "flower": 5,
    "auth0": 10,
    "mongo": 17,
    "stripe": 20,
    "mail": 25,
    "mail-http": 26,
    "yookassa": 30,
    "postgres": 32,
    "push": 35,
    "clock": 40,
    "storage": 45,
    "collector": 70,
    "cache": 78,
    "queue": 79,
    "prometheus": 90,
    "kafka": 92,
}
# Ports that Prometheus scrapes, one per process.
METRICS_OF_WORKERS, METRICS_OF_BRIDGE, METRICS_OF_GATEWAY = range(50, 60), 60, 61
METRICS_OF_STREAM, METRICS_OF_BEAT = 62, 63
METRICS = (*METRICS_OF_WORKERS, METRICS_OF_BRIDGE, METRICS_OF_GATEWAY, METRICS_OF_STREAM, METRICS_OF_BEAT)


def is_free(port: int) -> bool:
    """Return whether a server could listen on ``port`` of the loopback address now."""
    with socket.socket() as candidate:
        # Servers set SO_REUSEADDR too: closed connections that the kernel still remembers do not occupy the port.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_open(port: int) -> bool:
    """Return whether a server listens on ``port`` of the loopback address."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_base() -> int:
    """Return a ``PORT_BASE`` with all ports free, below the range the kernel uses for outgoing connections."""
    for base in random.sample(range(10_000, 32_000, 100), k=200):
        if all(is_free(base + offset) for offset in (*OFFSETS.values(), *METRICS)):
            return base
    raise SystemExit("No PORT_BASE between 10000 and 32000 has all its ports free.")
