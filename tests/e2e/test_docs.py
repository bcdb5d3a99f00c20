"""The examples of the tutorial and of the guides run as they are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from settings import ROOT
from tests.support.platform import Platform

DOCS = ROOT / "docs"
EXAMPLES = [DOCS / "tutorial.md", *sorted((DOCS / "guides").glob("*.md"))]
INTERPRETERS = {"sh": ["bash", "-eu", "-o", "pipefail"], "python": [sys.executable, "-"]}


def examples(page: Path, language: str) -> str:
    """Return the code blocks of a page in one language, which are one program."""
    return "".join(re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))


def environment(stack: Platform) -> dict[str, str]:
    """Return what ``python -m ops.dev env`` exports for this stack, with a learner of its own."""
    of_stack = os.environ | {"PORT_BASE": str(stack.stack.port_base), "STATE_DIR": str(stack.stack.state_dir)}
    command = [sys.executable, "-m", "ops.dev", "env"]
    output = subprocess.run(command, cwd=ROOT, env=of_stack, check=True, capture_output=True, text=True).stdout
    exported = dict(line.removeprefix("export ").split("=", 1) for line in output.splitlines())
    source = f"{ROOT}:{ROOT / 'clients' / 'python' / 'src'}"
    return of_stack | exported | {"PYTHONPATH": source, "LEARNER_TOKEN": stack.person().token or ""}


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.stem)
def test_examples_of_page_run(page: Path, stack: Platform, tmp_path: Path):
    (tmp_path / ".local").symlink_to(ROOT / ".local")  # examples call .local/venv/bin/python
    variables = environment(stack)
    for language, interpreter in INTERPRETERS.items():
        ended = subprocess.run(
            interpreter,
            input=examples(page, language),
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
