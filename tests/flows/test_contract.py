"""Every operation of the OpenAPI document, called with what fits its schema and with what does not.

schemathesis makes the requests: no 5xx, no status and no body that is not documented, nothing taken that the schema
refuses. A find prints a curl line; give its request a test of its own below tests/api.
"""

import time
from uuid import UUID, uuid4

import hypothesis
import pytest
import schemathesis
from hypothesis import Phase

import settings
from ops.contract import OPENAPI
from tests.support.platform import Person, Platform
from tests.support.waiting import eventually

pytestmark = pytest.mark.flow

SECONDS_PER_OPERATION = 0.7
PERMISSIONS = (
    "courses:write courses:admin payments:read payments:refund payments:admin users:admin notifications:admin ops:admin"
)
COURSE = {
    "title": "Contracts",
    "category": "law",
    "level": "beginner",
    "language": "en",
    "price": {"amount_minor": 0, "currency": "EUR"},
}
LEAVING = {"DELETE /v1/me"}  # who does this is nobody afterwards

document = schemathesis.openapi.from_path(OPENAPI)
document.config.checks.positive_data_acceptance.expected_statuses = [
    *("2xx", "3xx", "401", "403", "404", "409"),
    "400",  # a signature, a cursor: strings of which no schema tells which are right
    "412",  # an ETag likewise
    "422",  # a quiz without questions, two options of one id: rules that a schema cannot tell
    "428",  # If-Match: *, which names no version
]
document.config.checks.missing_required_header.expected_statuses = ["400", "404", "422", "428"]


class Admin:
    """Somebody who may do everything, with a course to do it to."""

    def __init__(self, stack: Platform) -> None:
        claims = {
            "sub": f"auth0|{uuid4().hex}",
            "iss": f"{stack.auth0}/",
            "aud": settings.AUTH0_AUDIENCE,
            "exp": int(time.time()) + 3600,
            "permissions": PERMISSIONS.split(),
        }
        self.person: Person = stack.minted(claims)
        eventually(lambda: self.person.get("/v1/me").json()["version"] >= 2, "the profile", seconds=45)
        course = self._made("/v1/courses", COURSE)
        section = self._made(f"/v1/courses/{course}/sections", {"title": "One"})
        lesson = {"title": "One", "section_id": section, "kind": "text", "content": {"body": "Words."}}
        lesson = self._made(f"/v1/courses/{course}/lessons", lesson)
        self._made(f"/v1/courses/{course}/publish")
        self.things = {"course_id": course, "ref": course, "section_id": section, "lesson_id": lesson}

    def _made(self, path: str, body: object = None) -> str:
        return str(self.person.post(path, body).json()["id"])


@pytest.fixture(scope="module")
def admins() -> dict[str, Admin]:
    """One for all operations, and others for those that end their caller."""
    return {}


@pytest.fixture(scope="module")
def ends() -> dict[str, float]:
    """When each operation has had its time."""
    return {}


@document.parametrize()
@hypothesis.settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # what fails is told as it is: making it small takes minutes
    derandomize=True,  # the same requests for everybody: what fails is the change's fault
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_an_operation_keeps_its_contract(case, stack: Platform, admins: dict[str, Admin], ends: dict[str, float]):
    name = case.operation.label if case.operation.label in LEAVING else "all"
    if name not in admins:
        admins[name] = Admin(stack)
    if time.monotonic() > ends.setdefault(case.operation.label, time.monotonic() + SECONDS_PER_OPERATION):
        return
    admin = admins[name]
    for parameter, value in case.path_parameters.items():
        if parameter in admin.things and is_id(value):
            case.path_parameters[parameter] = admin.things[parameter]  # else all that is met is a 404
    case.call_and_validate(base_url=stack.url, headers={"Authorization": f"Bearer {admin.person.token}"})


def is_id(value: object) -> bool:
    try:
        return bool(UUID(str(value)))
    except ValueError:
        return False
