"""Stores of files: the one of the local stack, and a server that others have written."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest

import settings
from ops.dev import storage
from ops.dev.ports import free_base, is_open
from tests.support.polling import eventually


@pytest.fixture(scope="module")
def embedded(tmp_path_factory) -> Iterator[str]:
    server = storage.serve(tmp_path_factory.mktemp("storage"), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory) -> Iterator[str]:
    program = shutil.which("versitygw")
    if program is None:
        pytest.skip("versitygw is not installed: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
    folder, port = tmp_path_factory.mktemp("versitygw"), free_base()
    (folder / settings.STORAGE_BUCKET).mkdir()
    login = {"ROOT_ACCESS_KEY_ID": settings.STORAGE_ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": settings.STORAGE_SECRET_KEY}
    command = [program, "--port", f"127.0.0.1:{port}", "--region", settings.STORAGE_REGION, "posix", str(folder)]
    with subprocess.Popen(command, env={**os.environ, **login}, stdout=subprocess.DEVNULL) as process:
        eventually(lambda: is_open(port), "versitygw")
        yield f"http://127.0.0.1:{port}"
        process.terminate()


@pytest.fixture(params=["embedded", "versitygw"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use the store of the local stack, and a server that others have written."""
    url: str = request.getfixturevalue(request.param)
    monkeypatch.setattr(settings, "STORAGE_URL", url)
    monkeypatch.setattr(settings, "STORAGE_PUBLIC_URL", url)
    return url


@pytest.fixture
def embedded_store(embedded: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(settings, "STORAGE_URL", embedded)
    monkeypatch.setattr(settings, "STORAGE_PUBLIC_URL", embedded)
    return embedded
