"""Release a version: ``make release VERSION=0.1.0``. docs/releasing.md describes the whole procedure.

The version is stored in pyproject.toml only.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

from core import command_line
from ops.openapi_changes import find_breaking_changes

ROOT = Path(__file__).resolve().parent.parent

_IDENTIFIER = r"(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
# https://semver.org without build metadata: two builds of one version would need the same tag.
_SEMANTIC_VERSION = re.compile(
    rf"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?", re.ASCII
)
_UNRELEASED = re.compile(r"^## Unreleased\n(?P<changes>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_PROJECT_VERSION = re.compile(r'(?P<before>^\[project\]\n(?:(?!\[).*\n)*?version = ")[^"]*(?=")', re.MULTILINE)

_OPENAPI = "docs/openapi.json"


class ReleaseError(Exception):
    """The release cannot be made; nothing was changed."""


def release(root: Path, version: str, today: date, *, dry_run: bool = False) -> str:
    """Set the version, date the changelog, commit and tag. Returns the changes of the release.

    Raises ReleaseError before it writes anything. ``dry_run`` checks and returns the changes only.
    """
    pyproject, changelog = root / "pyproject.toml", root / "CHANGELOG.md"
    current = tomllib.loads(pyproject.read_text())["project"]["version"]
    _check_newer(version, current)
    _check_repository(root, f"v{version}")
    _check_compatible(root, version, current)
    changes, dated = date_changes(changelog.read_text(), version, today)
    if not dry_run:
        pyproject.write_text(_PROJECT_VERSION.sub(rf"\g<before>{version}", pyproject.read_text(), count=1))
        changelog.write_text(dated)
        _git(root, "commit", "--quiet", "--message", f"Release {version}", "--", pyproject.name, changelog.name)
        _git(root, "tag", "--annotate", f"v{version}", "--message", f"Coursebus {version}")
    return changes


def precedence(version: str) -> tuple[tuple[int, ...], bool, list[tuple[bool, int, str]]]:
    """Return a sort key by the precedence rules of semantic versioning. Raises ReleaseError for other versions."""
    match = _SEMANTIC_VERSION.fullmatch(version)
    if not match:
        msg = f"{version!r} is not a semantic version such as 1.2.3 or 1.2.3-rc.1"
        raise ReleaseError(msg)
    *core, prerelease = match.groups()
    identifiers = prerelease.split(".") if prerelease else []
    # Numbers sort below words, and a release above its own pre-releases.
    keys = [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in identifiers]
    return tuple(int(part) for part in core), not identifiers, keys


def date_changes(changelog: str, version: str, today: date) -> tuple[str, str]:
    """Return the unreleased changes, and the changelog with these changes under ``version``."""
    section = _UNRELEASED.search(changelog)
    changes = section["changes"].strip() if section else ""
    if not section or not changes:
        msg = 'CHANGELOG.md has no changes under "## Unreleased"'
        raise ReleaseError(msg)
    rest = changelog[section.end() :]
    dated = f"## Unreleased\n\n## {version} - {today.isoformat()}\n\n{changes}\n"
    return changes, changelog[: section.start()] + dated + (f"\n{rest}" if rest else "")


def notes(changelog: str, version: str) -> str:
    """Return the changes of a released version. Raises ReleaseError if the changelog does not have it."""
    heading = rf"^## {re.escape(version)} - [^\n]*\n"
    section = re.search(heading + r"(?P<changes>.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not section:
        msg = f"CHANGELOG.md has no version {version}"
        raise ReleaseError(msg)
    return section["changes"].strip()


def _check_newer(version: str, current: str) -> None:
    if precedence(version) <= precedence(current):
        msg = f"{version} is not newer than {current}"
        raise ReleaseError(msg)


def _check_repository(root: Path, tag: str) -> None:
    if changed := _git(root, "status", "--porcelain"):
        msg = f"commit or remove these files first:\n{changed}"
        raise ReleaseError(msg)
    if _git(root, "tag", "--list", tag):
        msg = f"the tag {tag} exists"
        raise ReleaseError(msg)


def _check_compatible(root: Path, version: str, current: str) -> None:
    """Refuse a version whose number promises compatibility, if its API breaks clients of ``current``."""
    (major, minor, *_), (old_major, old_minor, *_) = precedence(version)[0], precedence(current)[0]
    if (major, minor if major == 0 else 0) != (old_major, old_minor if old_major == 0 else 0):
        return
    if not _git(root, "tag", "--list", f"v{current}"):
        return  # the first release
    old = json.loads(_git(root, "show", f"v{current}:{_OPENAPI}"))
    if changes := find_breaking_changes(old, json.loads((root / _OPENAPI).read_text())):
        msg = "these changes break clients, so a version with a higher {} number is needed:\n{}"
        raise ReleaseError(msg.format("minor" if major == 0 else "major", "\n".join(changes)))


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"git {arguments[0]} failed: {done.stderr.strip()}"
        raise ReleaseError(msg)
    return done.stdout.rstrip()


def main() -> None:
    """Parse the command line and release."""
    parser = argparse.ArgumentParser(prog="python -m ops.release", description="Set the version, commit and tag.")
    parser.add_argument("version", help="semantic version without a leading v, such as 0.1.0")
    parser.add_argument("--dry-run", action="store_true", help="check, and print the changes only")
    parser.add_argument("--notes", action="store_true", help="print the changes of a version that is released")
    asked = parser.parse_args()
    try:
        if asked.notes:
            print(notes((ROOT / "CHANGELOG.md").read_text(), asked.version))
            return
        changes = release(ROOT, asked.version, datetime.now(UTC).date(), dry_run=asked.dry_run)
    except ReleaseError as error:
        sys.exit(f"not released: {error}")
    print(changes)
    print(f"\n{'would release' if asked.dry_run else 'released'} {asked.version}")


if __name__ == "__main__":
    command_line.run(main)
