"""The command line ``coursebus``. It needs the extra ``cli``: ``pip install 'coursebus[cli]'``."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line with the arguments of the process and exit with its status."""
    try:
        from ._main import run  # noqa: PLC0415 typer and rich are installed with the extra only
    except ModuleNotFoundError as error:
        sys.stderr.write(f"{error.name} is missing. The command line needs: pip install 'coursebus[cli]'\n")
        sys.exit(2)
    sys.exit(run(sys.argv[1:]))
