"""The container image, built without a container engine: every process can start in it."""

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from ops.dev.readiness import is_ok
from settings import ROOT
from tests.support.polling import eventually

MEGABYTES_MAX = 400
_PRINT_VERSION = "import settings; print(settings.COURSEBUS_VERSION)"
MISSING = [tool for tool in ("buildah", "debootstrap") if shutil.which(tool) is None]


class Image:
    """A container of the built image in its own storage."""

    def __init__(self, directory: Path) -> None:
        self._buildah = ["buildah", "--root", str(directory / "storage"), "--runroot", str(directory / "run")]
        self._container = self._output_of("from", "localhost/coursebus")

    def run(self, *command: str, **environ: str) -> str:
        """Run ``command`` in the container as the user of the image; return its output."""
        return self._output_of(*self._run_arguments(command, environ))

    def start(self, *command: str, **environ: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._buildah, *self._run_arguments(command, environ)])

    def inspect(self) -> str:
        return self._output_of("inspect", "--type", "image", "localhost/coursebus")

    def _run_arguments(self, command: tuple[str, ...], environ: dict[str, str]) -> list[str]:
        variables = [part for name, value in environ.items() for part in ("--env", f"{name}={value}")]
        return ["run", "--isolation", "chroot", *variables, self._container, "--", *command]

    def _output_of(self, *arguments: str) -> str:
        completed = subprocess.run([*self._buildah, *arguments], capture_output=True, text=True, check=False)
        assert completed.returncode == 0, completed.stderr
        return completed.stdout.strip()


@pytest.fixture(scope="module")
def image() -> Image:
    if os.geteuid() != 0 or MISSING:
        pytest.skip(f"the image is built by root with buildah and debootstrap; missing: {', '.join(MISSING) or 'root'}")
    directory = ROOT / ".local" / "image"  # kept, so that the next build reuses the base
    build = [ROOT / "ops" / "image" / "build_without_engine.sh", directory]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return Image(directory)


def test_image_runs_unprivileged_without_build_tools(image: Image):
    assert image.run("id", "-u") == "10001"
    assert image.run("python", "-c", "import settings; print(settings.ENVIRONMENT)") == "production"
    tools = image.run("sh", "-c", "command -v gcc cc make g++ ld /venv/bin/pip || true")
    assert tools == ""


def test_image_is_small_and_describes_itself(image: Image):
    inspected = json.loads(image.inspect())

    labels = inspected["OCIv1"]["config"]["Labels"]
    assert re.fullmatch("[0-9a-f]{40}", labels["org.opencontainers.image.revision"])
    assert labels["org.opencontainers.image.version"] == image.run("python", "-c", _PRINT_VERSION)
    bill = json.loads(image.run("cat", "/usr/share/sbom/coursebus.cdx.json"))
    purls = {each["purl"].partition("?")[0].rpartition("@")[0] for each in bill["components"]}
    assert {"pkg:pypi/celery", "pkg:pypi/stripe", "pkg:deb/debian/libc6"} <= purls
    assert bill["metadata"]["component"]["version"] == labels["org.opencontainers.image.version"]
    megabytes = (
        int(image.run("sh", "-c", "du -sxb / 2>/dev/null || true").split()[0]) / 1e6
    )  # but for what root alone reads
    assert megabytes < MEGABYTES_MAX


def test_every_process_can_import_its_code(image: Image):
    loads = (
        "import celery_app; celery_app.celery_app.loader.import_default_modules(); print(*celery_app.LOADED_SERVICES)"
    )
    assert "payments" in image.run("python", "-c", loads)
    image.run("python", "-m", "bridge", "--help")
    image.run(
        "python",
        "-c",
        "import migrations.__main__, flower.command, ops.flower, stream.server, web",
        ENVIRONMENT="local",
        FLOWER_BASIC_AUTH="ops:ops",
    )
    image.run("python", "-c", "import workers.__main__, beat", SERVICE="payments")


def test_gateway_answers_inside_container(image: Image):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["gunicorn", "wsgi:app", "-c", "ops/gunicorn.py", "--bind", f"127.0.0.1:{port}"]
    with image.start(*command, ENVIRONMENT="local") as running:
        try:
            eventually(lambda: is_ok(f"http://127.0.0.1:{port}/livez"), "the gateway", seconds=60)
            # Not ready without Redis, but alive.
            assert image.run("python", "-m", "ops.healthcheck", HEALTH_URL=f"http://127.0.0.1:{port}/livez") == ""
            assert is_ok(f"http://127.0.0.1:{port}/openapi.json")
        finally:
            for each in psutil.Process(running.pid).children(recursive=True):
                each.terminate()
