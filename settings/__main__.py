"""Explain the configuration and report what is wrong with it: ``python -m settings [check] [process]``."""

import sys

from core import command_line

from . import read
from .checks import USED_SETTINGS, find_unsafe_settings


def main(arguments: list[str]) -> int:
    """Print every setting by group, with its value and source, then all problems; return 1 if there are any.

    With ``check`` only the problems are printed. The last argument is a process of USED_SETTINGS; without one, all
    settings are checked.
    """
    checks_only = arguments[:1] == ["check"]
    processes = arguments[1:] if checks_only else arguments
    if len(processes) > 1 or not set(processes) <= set(USED_SETTINGS):
        sys.stderr.write(f"usage: python -m settings [check] [{'|'.join(USED_SETTINGS)}]\n")
        return 2
    problems = [*read.errors, *find_unsafe_settings(*processes)]
    if not checks_only:
        sys.stdout.write(f"{_explanation()}\n")
    sys.stdout.write(f"Problems: {len(problems)}\n")
    sys.stdout.flush()
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


def _explanation() -> str:
    lines: list[str] = []
    for group in dict.fromkeys(setting.group for setting in read.settings.values()):
        members = [setting for setting in read.settings.values() if setting.group == group]
        lines += [group, *(f"  {each.name:32}{each.shown or '(none)':50}  {each.source}" for each in members), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(lambda: main(sys.argv[1:]))
