"""Build the documentation site: ``python -m ops.docs_site [folder]``, by default in ``.local/docs``.

A warning is an error: a broken link, a page in no table of contents, a picture that cannot be drawn.
"""

import sys
from pathlib import Path

from sphinx.cmd.build import build_main

from core import command_line
from ops.docs_site import check, reference
from settings import ROOT, STATE_DIR


def build(folder: Path) -> int:
    """Write the reference pages, then the site into ``folder``, and check its links; return the exit code."""
    reference.write()
    doctrees = STATE_DIR / "doctrees"
    options = ["-q", "-W", "--keep-going", "-j", "auto", "-d", str(doctrees), "-c", str(Path(__file__).parent)]
    if result := build_main([*options, "-b", "html", str(ROOT), str(folder)]):
        return result
    problems = list(check.find_problems(folder))
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    sys.stdout.write(f"{folder / 'index.html'}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    command_line.run(lambda: build(Path(sys.argv[1]) if len(sys.argv) > 1 else STATE_DIR / "docs"))
