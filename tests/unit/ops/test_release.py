"""The release program, in a temporary git repository."""

import itertools
import json
import subprocess
import tomllib
from datetime import date
from pathlib import Path

import pytest

from ops.release import ReleaseError, notes, precedence, release
from settings import ROOT

TODAY = date(2026, 3, 1)
PYPROJECT = """\
[tool.other]
version = "9"

[project]
name = "coursebus"
version = "0.1.0" # comment

[tool.last]
version = "8"
"""
CHANGELOG = "# Changelog\n\n## Unreleased\n\n### Added\n\n- Coupons.\n\n## 0.1.0 - 2026-01-01\n\n- Courses.\n"


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.test")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "Start")
    return tmp_path


def test_release_sets_version_dates_changes_commits_and_tags(root):
    changes = release(root, "0.2.0", TODAY)

    assert changes == "### Added\n\n- Coupons."
    assert (root / "pyproject.toml").read_text() == PYPROJECT.replace('"0.1.0"', '"0.2.0"')
    assert (root / "CHANGELOG.md").read_text() == CHANGELOG.replace(
        "## Unreleased\n\n", "## Unreleased\n\n## 0.2.0 - 2026-03-01\n\n"
    )
    assert git(root, "log", "-1", "--format=%s") == "Release 0.2.0"
    assert git(root, "rev-parse", "v0.2.0^{commit}") == git(root, "rev-parse", "HEAD")
    assert git(root, "status", "--porcelain") == ""


def test_dry_run_changes_nothing(root):
    before = git(root, "rev-parse", "HEAD")

    assert release(root, "0.2.0", TODAY, dry_run=True) == "### Added\n\n- Coupons."

    assert git(root, "rev-parse", "HEAD") == before
    assert git(root, "tag") == ""
    assert git(root, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "version", ["1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+build", "1.0.0\n", ""]
)
def test_version_must_be_semantic(root, version):
    with pytest.raises(ReleaseError, match="not a semantic version"):
        release(root, version, TODAY)


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9", "0.1.0-rc.1"])
def test_version_must_be_newer(root, version):
    with pytest.raises(ReleaseError, match="not newer"):
        release(root, version, TODAY)


def test_precedence_is_that_of_semantic_versioning():
    ascending = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.10",
    ]

    assert all(precedence(lower) < precedence(higher) for lower, higher in itertools.pairwise(ascending))


def test_uncommitted_file_stops_release(root):
    (root / "new.py").touch()

    with pytest.raises(ReleaseError, match=r"new\.py"):
        release(root, "0.2.0", TODAY)


def test_existing_tag_stops_release(root):
    git(root, "tag", "v0.2.0")

    with pytest.raises(ReleaseError, match=r"v0\.2\.0 exists"):
        release(root, "0.2.0", TODAY)


@pytest.mark.parametrize("changelog", ["# Changelog\n", "# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- Courses.\n"])
def test_release_without_changes_is_refused(root, changelog):
    (root / "CHANGELOG.md").write_text(changelog)
    git(root, "commit", "--quiet", "--all", "--message", "Change")

    with pytest.raises(ReleaseError, match="no changes"):
        release(root, "0.2.0", TODAY)


def test_project_version_is_a_semantic_version():
    assert precedence(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def test_notes_are_the_changes_of_one_version():
    changelog = CHANGELOG + "\n## 0.0.10 - 2025-01-01\n\n- Users.\n"

    assert notes(changelog, "0.1.0") == "- Courses."
    assert notes(changelog, "0.0.10") == "- Users."
    with pytest.raises(ReleaseError, match=r"no version 0\.0\.1"):
        notes(changelog, "0.0.1")


@pytest.mark.parametrize(("version", "is_released"), [("0.1.1", False), ("0.2.0", True), ("1.0.0", True)])
def test_patch_that_breaks_clients_is_refused(root, version: str, is_released):
    operation = {"operationId": "listOrders", "responses": {}}
    (root / "docs").mkdir()
    (root / "docs" / "openapi.json").write_text(json.dumps({"paths": {"/v1/orders": {"get": operation}}}))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Add the API")
    git(root, "tag", "v0.1.0")
    (root / "docs" / "openapi.json").write_text(json.dumps({"paths": {}}))
    git(root, "commit", "--quiet", "--all", "--message", "Remove the orders")

    if is_released:
        assert release(root, version, TODAY)
    else:
        with pytest.raises(ReleaseError, match="GET /v1/orders: removed"):
            release(root, version, TODAY)
