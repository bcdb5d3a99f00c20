"""Run the embedded server that speaks MongoDB's protocol, and stores in SQLite: ``python -m ops.dev.mongo``.

It stores sub-documents that are pushed into an array as strings, so documents are never ``$push``-ed.
"""

import sys
from pathlib import Path

from nx_27017.nx_27017 import main

from ops.dev.ports import OFFSETS
from settings import PORT_BASE, STATE_DIR


def arguments(home: Path, port: int) -> list[str]:
    """Make ``home`` ready, and return the arguments that keep everything the server writes inside it."""
    home.mkdir(parents=True, exist_ok=True)
    pid_file = home / "pid"
    # A killed server leaves its file behind, and the next one takes whoever has that pid now for itself.
    pid_file.unlink(missing_ok=True)
    return [
        *("--host", "127.0.0.1", "--port", str(port), "--data-dir", str(home / "data")),
        *("--pid-file", str(pid_file), "--log-file", "/dev/null"),  # the log comes by standard error as well
    ]


if __name__ == "__main__":
    sys.argv[1:] = arguments(STATE_DIR / "mongo", PORT_BASE + OFFSETS["mongo"])
    sys.exit(main())
