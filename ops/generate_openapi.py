"""``python -m ops.generate_openapi`` writes the gateway's contract: docs/openapi.json and docs/errors.md. make openapi

Both are committed, so that a change of the contract is seen in review; tests/api/test_openapi.py compares them.
"""

import json
import re

from api import create_app
from api.problems import GATEWAY_CODES
from models.errors import DomainError
from settings import ROOT

OPENAPI = ROOT / "docs" / "openapi.json"
ERRORS = ROOT / "docs" / "errors.md"

_ERRORS_HEADER = """# Errors

Every error is an RFC 9457 problem (`application/problem+json`). Branch on `code`: it is stable; `title` and `detail`
are for people. `errors` names the fields at fault by JSON pointers, `request_id` finds the log lines. Where a number
stands under "again after", the same request may succeed after so many seconds (`Retry-After`).

| status | code | meaning | again after |
|---|---|---|---|
"""


def openapi() -> str:
    """The OpenAPI document, as it is served."""
    document = create_app().test_client().get("/openapi.json").get_json()
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def errors() -> str:
    """A table of all codes, by status."""
    rows = {
        (error.status, error.code): (_without_placeholders(error.message), str(error.retry_after_seconds or ""))
        for error in DomainError.by_name.values()
        if error.message not in {DomainError.message, "{0}"}  # families, which are raised through their members
    }
    rows |= {(status, code): (meaning, "") for code, (status, meaning) in GATEWAY_CODES.items()}
    return _ERRORS_HEADER + "".join(
        f"| {status} | `{code}` | {message} | {seconds} |\n"
        for (status, code), (message, seconds) in sorted(rows.items())
    )


def _without_placeholders(message: str) -> str:
    """A message without its fields: {0} becomes an ellipsis."""
    return re.sub(r"\{\d\}", "…", message.replace("{{", "").replace("}}", ""))


if __name__ == "__main__":
    OPENAPI.write_text(openapi())
    ERRORS.write_text(errors())
