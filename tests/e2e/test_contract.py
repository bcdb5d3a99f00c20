"""Every operation of the OpenAPI document, called with valid and invalid input.

schemathesis generates the requests. It reports each 5xx, each undocumented status or body, and each accepted request
that the schema forbids. A finding is printed with a curl line; write a test for its request in tests/integration/api.
"""

import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

import settings
from tests.support.platform import Person, Platform
from tests.support.polling import eventually

SECONDS = 45
EXPECTATIONS = Path(__file__).with_name("schemathesis.toml")
PERMISSIONS = (
    "courses:write courses:admin payments:read payments:refund payments:admin users:admin notifications:admin ops:admin"
)


@pytest.fixture
def admin(stack: Platform) -> Person:
    """A person with every permission."""
    claims = {
        "sub": f"auth0|{uuid4().hex}",
        "iss": f"{stack.auth0}/",
        "aud": settings.AUTH0_AUDIENCE,
        "exp": int(time.time()) + 3600,
        "permissions": PERMISSIONS.split(),
    }
    person = stack.client_with_claims(claims)
    eventually(lambda: person.get("/v1/me").json()["version"] >= 2, "the profile")
    return person


def test_operations_conform_to_openapi_document(stack: Platform, admin: Person, tmp_path: Path):
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(EXPECTATIONS)),
            *("run", f"{stack.url}/openapi.json", "--header", f"Authorization: Bearer {admin.token}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--max-time", str(SECONDS)),
            "--generation-deterministic",  # every run sends the same requests, so a new finding is caused by a change
            "--no-shrink",  # minimizing a finding takes minutes
            *("--exclude-operation-id", "eraseAccount"),  # ends the account; tested by test_erasure.py
            *("--exclude-path-regex", "^/(readyz|livez|metrics)"),  # their responses depend on the machine
            *("--warnings", "off"),
        ],
        cwd=tmp_path,  # it writes its findings to files
        capture_output=True,
        text=True,
        timeout=4 * SECONDS,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
