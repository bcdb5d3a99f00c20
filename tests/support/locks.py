"""What the processes of one test run do one after another."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive_start() -> Iterator[None]:
    """Nobody else starts a platform meanwhile: three at once take a minute on two cores, and each of them times out."""
    here = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(here, fcntl.LOCK_EX)
        yield
    finally:
        os.close(here)
