"""Run the command line of a module."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

_ENDED_BY_SIGPIPE = 128 + 13  # the exit status that shells report for a program whose output is not read any more


def run(main: Callable[[], object]) -> NoReturn:
    """Exit with the status that ``main`` returns, or quietly if the reader of the output, such as ``head``, has ended.

    SIGPIPE keeps its handler of Python: its default would also end the process on a lost connection to a server.
    """
    try:
        try:
            status = main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes again at its end
        sys.exit(_ENDED_BY_SIGPIPE)
    sys.exit(status if isinstance(status, int) else 0)
