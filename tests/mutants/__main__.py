"""Take guards out one at a time and check that their tests fail: ``python -m tests.mutants [-j 2] [name …]``.

Each mutant of ``guards.toml`` replaces one text of one file in a temporary copy of the tree, so that an interrupted run
leaves nothing behind. Exits with 1 if a mutant survives its tests or no longer applies to the code.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.guards import ROOT, Mutant, read_mutants

_TIMEOUT_SECONDS = 300  # for one mutant; one that makes a test hang is not caught
_NOT_COPIED = shutil.ignore_patterns(".git", ".local", "__pycache__", ".*_cache", ".hypothesis")


def main() -> int:
    """Print the outcome of each mutant; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-j", type=int, default=1, metavar="N", help="number of mutants that are tested in parallel")
    parser.add_argument("names", nargs="*", metavar="name", help="only these mutants")
    arguments = parser.parse_args()
    mutants = [each for each in read_mutants() if not arguments.names or each.name in arguments.names]
    if unknown := set(arguments.names) - {each.name for each in mutants}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="coursebus-mutants-") as directory:
        return _run(mutants, [Path(directory, str(number)) for number in range(arguments.j)])


def _run(mutants: Sequence[Mutant], copies: Sequence[Path]) -> int:
    free: SimpleQueue[Path] = SimpleQueue()
    for copy in copies:
        _copy_tree(copy)
        free.put(copy)
    started_at = time.monotonic()
    code, output = _pytest(copies[0], sorted({test for each in mutants for test in each.tests}), fail_fast=False)
    if code:
        print(output, "The tests of the mutants fail without any mutant: nothing to compare with.", sep="\n")
        return 1

    def test(mutant: Mutant) -> str:
        copy = free.get()
        try:
            outcome = _outcome(mutant, copy)
        finally:
            free.put(copy)
        print(f"{outcome:16} {mutant.name:28} {mutant.guarantee}", flush=True)
        return outcome

    with ThreadPoolExecutor(len(copies)) as pool:
        outcomes = list(pool.map(test, mutants))
    caught = outcomes.count("caught")
    print(f"{caught} of {len(mutants)} mutants caught in {time.monotonic() - started_at:.0f} s")
    return int(caught < len(mutants))


def _outcome(mutant: Mutant, copy: Path) -> str:
    """Return ``caught``, ``survived``, ``does not apply``, or ``no result`` if pytest did not get to an assertion."""
    if not mutant.applies:
        return "does not apply"
    with _mutated(mutant, copy):
        try:
            code, output = _pytest(copy, mutant.tests, fail_fast=True)
        except subprocess.TimeoutExpired:
            return "no result"
    if code == 0:
        return "survived"
    # A mutant that breaks the import or a fixture proves nothing about the test.
    if code == 1 and re.search(r"\b[0-9]+ failed\b", output.splitlines()[-1]):
        return "caught"
    print(output)
    return "no result"


@contextmanager
def _mutated(mutant: Mutant, copy: Path) -> Iterator[None]:
    file = copy / mutant.file
    before = file.read_text()
    _write(file, before.replace(mutant.text, mutant.replacement))
    try:
        yield
    finally:
        _write(file, before)


def _write(file: Path, text: str) -> None:
    """Write ``text`` with a new time of change: by its whole seconds Python decides whether bytecode is up to date."""
    changed_at = file.stat().st_mtime + 2
    file.write_text(text)
    os.utime(file, (changed_at, changed_at))


def _copy_tree(to: Path) -> None:
    shutil.copytree(ROOT, to, ignore=_NOT_COPIED)


def _pytest(copy: Path, tests: Sequence[str], *, fail_fast: bool) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=short"]
    if fail_fast:
        command.append("-x")
    done = subprocess.run(
        [*command, *tests], cwd=copy, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
    )
    return done.returncode, done.stdout.strip() or done.stderr


if __name__ == "__main__":
    sys.exit(main())
