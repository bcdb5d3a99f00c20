"""Every operation of the OpenAPI document, called with what fits its schema and with what does not.

schemathesis makes the requests: no 5xx, no status and no body that is not documented, nothing taken that the schema
refuses. A find is printed with a curl line; give its request a test of its own below tests/api.
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

pytestmark = pytest.mark.e2e

SECONDS = 45
EXPECTATIONS = Path(__file__).with_name("schemathesis.toml")
PERMISSIONS = (
    "courses:write courses:admin payments:read payments:refund payments:admin users:admin notifications:admin ops:admin"
)


@pytest.fixture
def admin(stack: Platform) -> Person:
    """Somebody who may do everything."""
    claims = {
        "sub": f"auth0|{uuid4().hex}",
        "iss": f"{stack.auth0}/",
        "aud": settings.AUTH0_AUDIENCE,
        "exp": int(time.time()) + 3600,
        "permissions": PERMISSIONS.split(),
    }
    person = stack.client_with_claims(claims)
    eventually(lambda: person.get("/v1/me").json()["version"] >= 2, "the profile", seconds=45)
    return person


def test_operations_conform_to_openapi_document(stack: Platform, admin: Person, tmp_path: Path):
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(EXPECTATIONS)),
            *("run", f"{stack.url}/openapi.json", "--header", f"Authorization: Bearer {admin.token}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--max-time", str(SECONDS)),
            "--generation-deterministic",  # the same requests for everybody: what fails is the change's fault
            "--no-shrink",  # a find is told as it is; making it small takes minutes
            *("--exclude-operation-id", "delete_me"),  # nobody could go on after it; test_erasure.py does it
            *("--exclude-path-regex", "^/(readyz|livez|metrics)"),  # they tell of the machine, not of the contract
            *("--warnings", "off"),
        ],
        cwd=tmp_path,  # it writes down what it found
        capture_output=True,
        text=True,
        timeout=4 * SECONDS,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
