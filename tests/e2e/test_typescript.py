"""The guide for TypeScript: its code is compiled with the types of the OpenAPI document and run. Needs Node and npm."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from settings import ROOT
from tests.support.platform import Platform

PACKAGES = Path(__file__).with_name("typescript")
GUIDE = ROOT / "docs" / "guides" / "typescript.md"
OPTIONS = ["--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed: apt-get install nodejs npm"),
]


def run(folder: Path, *command: str, **variables: str) -> str:
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_typescript_guide_compiles_and_runs(stack: Platform, tmp_path: Path):
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PACKAGES / name, tmp_path)
    run(tmp_path, "npm", "ci", "--no-audit", "--no-fund")
    types = run(tmp_path, "npx", "openapi-typescript", str(ROOT / "docs" / "openapi.json"), "-o", "coursebus.d.ts")
    assert "warn" not in types.lower()

    code = "".join(re.findall(r"^```typescript\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL))
    (tmp_path / "example.ts").write_text(code.replace('"./coursebus"', '"./coursebus.js"'))
    run(tmp_path, "npx", "tsc", *OPTIONS, "example.ts")

    learner = stack.person()
    output = run(tmp_path, "node", "example.js", COURSEBUS_URL=stack.url, LEARNER_TOKEN=learner.token or "")
    assert int(output.split()[-1]) > 0
