"""The code that the README offers to integrators works unchanged on other ports."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops.dev.ports import OFFSETS
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


def with_stack_ports(code: str, stack: Platform, receiver_port: int) -> str:
    """Replace the ports in ``code`` by those of ``stack``."""
    ports = {8000 + OFFSETS[part]: stack.stack.port(part) for part in ("gateway", "auth0")} | {9999: receiver_port}
    for written, real in ports.items():
        code = re.sub(rf"127\.0\.0\.1(:|\", ){written}", rf"127.0.0.1\g<1>{real}", code)
    return code


def test_readme_receiver_receives_webhooks(stack: Platform, tmp_path: Path):
    port = stack.stack.port("gateway") + 99  # unused
    [receiver], [commands] = blocks("For integrators", "python"), blocks("For integrators", "sh")
    prelude = "".join(re.findall(r"^(?:API=|json\(\)).*\n", README, re.MULTILINE))
    (tmp_path / "receiver.py").write_text(with_stack_ports(receiver, stack, port))
    (tmp_path / "all.sh").write_text(
        with_stack_ports(prelude + commands, stack, port) + "\necho $ENDPOINT > endpoint; wait\n"
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (tmp_path / "output").open("wb") as output_file:
        shell = subprocess.Popen(
            ["bash", "-eu", "all.sh"],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
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
