"""docs/extending.md is followed literally in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text()
_FILE = re.compile(r"^(Create|Change) `([^`]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Variables of this test run that would lead its copy to the servers of this run.
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the repository with the installed packages, but without state."""
    root = tmp_path / "coursebus"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".git", ".local", ".pytest_cache"))
    (root / ".local").mkdir()
    (root / ".local" / "venv").symlink_to(sys.prefix)
    return root


def steps() -> Iterator[tuple[str, str, str]]:
    """Yield the files that the page creates and changes: the word, the path and the content, in order."""
    for match in _FILE.finditer(PAGE):
        yield match[1], match[2], match[3]


def hunks(diff: str) -> Iterator[tuple[str, str]]:
    """Yield the old and the new text of each part of a diff."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines()
        yield (
            "\n".join(line[1:] for line in lines if line[:1] in {" ", "-"}),
            "\n".join(line[1:] for line in lines if line[:1] in {" ", "+"}),
        )


def follow(root: Path) -> None:
    """Create and change the files. The only difference to the page: the number of the newest migration is filled in."""
    newest = max(path.name for path in (root / "migrations" / "versions").glob("[0-9]*.py"))[:4]
    for word, name, content in steps():
        path = root / name
        if word == "Create":
            assert not path.exists(), f"{name} exists"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content.replace("NEWEST", newest))
            continue
        text = path.read_text()
        for old, new in hunks(content):
            assert text.count(old) == 1, f"{name} has {text.count(old)} times:\n{old}"
            text = text.replace(old, new)
        path.write_text(text)


def test_page_changes_every_kind_of_file():
    changed = {path.split("/")[0] for _, path, _ in steps()}

    assert changed >= {"api", "migrations", "models", "ops", "settings", "tests", "workers"}


@pytest.mark.processes
def test_new_service_works(copy: Path):
    follow(copy)

    # The copy uses the packages of this run: PYTHON=true makes the target that installs them do nothing.
    environ = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHON": "true"}
    for commands in _COMMANDS.findall(PAGE):
        done = subprocess.run(
            ["sh", "-e", "-c", commands], cwd=copy, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
