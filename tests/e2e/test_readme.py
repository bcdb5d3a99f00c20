"""The stories of the README and the code that it offers to integrators run as they are, on any ports."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from settings import ROOT
from tests.support.platform import Platform
from tests.support.polling import eventually

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="the README calls by curl")

README = (ROOT / "README.md").read_text()


def blocks(section: str, language: str) -> list[str]:
    """Return the code blocks of one language below a heading."""
    text = re.search(rf"^## {section}$(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)
    assert text, section
    return re.findall(rf"^```{language}\n(.*?)^```$", text[1], re.MULTILINE | re.DOTALL)


def set_up(stack: Platform, folder: Path) -> tuple[str, dict[str, str]]:
    """Return the block that starts each story, and the variables for a shell in ``folder``."""
    (folder / ".local").symlink_to(ROOT / ".local")  # the block calls .local/venv/bin/python
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    of_stack = {"PORT_BASE": str(stack.stack.port_base), "STATE_DIR": str(stack.stack.state_dir)}
    return blocks("Three stories", "sh")[0], os.environ | of_stack | {"PYTHONPATH": str(ROOT), "PATH": path}


def test_readme_stories_run(stack: Platform, tmp_path: Path):
    _, variables = set_up(stack, tmp_path)
    address = f"{uuid4()}@example.test"
    stories = "".join(blocks("Three stories", "sh")).replace("ada@example.test", address)
    ended = subprocess.run(
        ["bash", "-eu", "-o", "pipefail"],
        input=stories,
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert address in ended.stdout


def test_readme_receiver_receives_webhooks(stack: Platform, tmp_path: Path):
    port = stack.stack.port("gateway") + 99  # unused
    prelude, variables = set_up(stack, tmp_path)
    [receiver], [commands] = blocks("For integrators", "python"), blocks("For integrators", "sh")
    (tmp_path / "receiver.py").write_text(receiver.replace("9999", str(port)))
    commands = "API=$COURSEBUS_URL\n" + commands.replace("9999", str(port))
    (tmp_path / "all.sh").write_text(prelude + commands + "\necho $ENDPOINT > endpoint; wait\n")
    with (tmp_path / "output").open("wb") as output_file:
        shell = subprocess.Popen(
            ["bash", "-eu", "all.sh"],
            cwd=tmp_path,
            env=variables,
            stdout=output_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        eventually(lambda: (tmp_path / "endpoint").exists() or shell.poll() is not None, "the last command")
        output = (tmp_path / "output").read_text()
        assert "WEBHOOK_TEST {" in output, output
        assert re.search(r'"delivered": ?true', output), output
        assert '"next_after"' in output, output
        stack.person().get("/v1/me")
        eventually(lambda: "USER_CREATED {" in (tmp_path / "output").read_text(), "the webhook")
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait()
    endpoint = (tmp_path / "endpoint").read_text()
    admin = stack.person("admin@demo.test")
    [endpoint_id] = re.findall(r'"id": ?"([^"]+)"', endpoint)
    assert admin.send("DELETE", f"/v1/webhook-endpoints/{endpoint_id}").status_code == 204
