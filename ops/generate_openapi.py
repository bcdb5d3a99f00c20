"""Write the gateway's documents docs/openapi.json and docs/errors.md: ``make openapi``.

Both are committed, so that a review shows changes of the API. tests/unit/api/test_openapi.py compares them with the
code.
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

Every error is an RFC 9457 problem (`application/problem+json`). Branch on `code`, which is stable; `title` and `detail`
are for people. `errors` lists the invalid fields as JSON pointers. `request_id` finds the log lines. If the column
"retry after" has a number, the same request may succeed after that many seconds (`Retry-After`).

| status | code | meaning | retry after |
|---|---|---|---|
"""


def openapi() -> str:
    """Return the OpenAPI document as the gateway serves it."""
    document = create_app().test_client().get("/openapi.json").get_json()
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def errors() -> str:
    """Return a table of all error codes, ordered by status."""
    rows = {
        (error.status, error.code): (_without_placeholders(error.message), str(error.retry_after_seconds or ""))
        for error in DomainError.by_name.values()
        if error.message not in {DomainError.message, "{0}"}  # base classes, of which only subclasses are raised
    }
    rows |= {(status, code): (meaning, "") for code, (status, meaning) in GATEWAY_CODES.items()}
    return _ERRORS_HEADER + "".join(
        f"| {status} | `{code}` | {message} | {seconds} |\n"
        for (status, code), (message, seconds) in sorted(rows.items())
    )


def _without_placeholders(message: str) -> str:
    """Replace the placeholders of a message, such as {0}, by an ellipsis."""
    return re.sub(r"\{\d\}", "…", message.replace("{{", "").replace("}}", ""))


if __name__ == "__main__":
    OPENAPI.write_text(openapi())
    ERRORS.write_text(errors())
