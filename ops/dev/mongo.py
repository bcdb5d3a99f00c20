"""Run the embedded server that speaks MongoDB's protocol and stores in SQLite: ``python -m ops.dev.mongo``.

The server stores sub-documents that are pushed into an array as strings, so the project never uses ``$push``.
"""

import sys
from pathlib import Path

from nx_27017.nx_27017 import main

from ops.dev.ports import OFFSETS
from settings import PORT_BASE, STATE_DIR


def arguments(home: Path, port: int) -> list[str]:
    """Prepare ``home`` and return the arguments that keep every file of the server inside it."""
    home.mkdir(parents=True, exist_ok=True)
    pid_file = home / "pid"
    # A killed server leaves its pid file. The next server would treat an unrelated process with that pid as its
    # predecessor.
    pid_file.unlink(missing_ok=True)
    return [
        *("--host", "127.0.0.1", "--port", str(port), "--data-dir", str(home / "data")),
        *("--pid-file", str(pid_file), "--log-file", "/dev/null"),  # the log is written to standard error as well
    ]


if __name__ == "__main__":
    sys.argv[1:] = arguments(STATE_DIR / "mongo", PORT_BASE + OFFSETS["mongo"])
    sys.exit(main())
