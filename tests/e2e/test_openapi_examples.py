"""The examples of the OpenAPI document work against the running stack and return what is documented."""

from typing import Any
from uuid import uuid4

import requests

from api.openapi_examples import COURSE

from .harness import ScenarioHarness, Visitor, eventually
from .test_authorization_matrix import person_with_permissions
from .test_contract import PERMISSIONS

# Examples that would change the shared catalogue or cannot be sent as they are.
EXCLUDED = {
    "createCoupon": "the code is in use after the first run; tested by test_coupons.py",
    "eraseAccount": "it ends the account; tested by test_erasure.py",
    "archiveCourse": "other examples use the course",
    "unpublishCourse": "other tests use the course",
    "publishCourse": "other tests use its first version",
    "createCourseVersion": "the same",
    "restoreCourseVersion": "it would undo what another example has done",
    "replaceOutline": "it lists all lessons, and another example adds one",
    "deleteSection": "the section has lessons: 409",
    "deleteLesson": "other examples use the lesson",
    "submitQuizAttempt": "the lesson is no quiz: 409",
    "startQuizAttempt": "the same",
    "getOwnQuiz": "the same",
    "previewQuizAttempt": "the lesson is no quiz: 409",
    "addExtraQuizAttempts": "the user is no learner of the course: 404",
    "createWebhookEndpoint": "the host name is resolved, and tests have no network",
    "createSubscription": "it needs a payment method from an earlier checkout: 409",
    "startUpload": "its PUT goes to the store; tested by tests/integration/courses/test_files.py",
    "leaveCourse": "other examples need the enrollment; tested by test_http.py",
    "deleteOwnReview": "its order among the examples is not fixed: 404 before the review",
    "getOwnReview": "the same, and GETs come first",
    "streamNotifications": "it redirects to a stream, which does not end",
    "listTracedRequests": "it needs one of two filters: 422; tested by test_request_traces.py",
    "getDataExport": "404 until an export is complete",
}
FIRST = "createEnrollment"  # the other examples need the enrolment


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return method, path and operation of all examples that can be sent as they are."""
    found = []
    for path, described in document["paths"].items():
        shared = described.get("parameters", [])
        for parameter in shared:
            if "example" in parameter:
                path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))  # noqa: PLW2901
        for method, operation in described.items():
            if method != "parameters" and "{" not in path and path.startswith("/v1/") and "/webhooks/" not in path:
                found.append((method.upper(), path, operation))
    return sorted(found, key=lambda each: (each[2]["operationId"] != FIRST, each[0] != "GET", each[1]))


def body_of(operation: dict[str, Any]) -> Any:
    """Return the example of the request body. Raises KeyError if there is none."""
    if "requestBody" not in operation:
        return None
    return operation["requestBody"]["content"]["application/json"]["example"]


def version_of(reader: Visitor, path: str) -> str:
    """Return the ETag of the course, or of the other object, that a request to ``path`` changes."""
    parts = path.split("/")
    has_own = parts[2] != "courses" or parts[-1] == "certificate-template"
    return reader.get(path if has_own else "/".join(parts[:4])).headers["ETag"]


def test_openapi_examples_return_documented_status(harness: ScenarioHarness) -> None:
    document = requests.get(f"{harness.platform.url}/openapi.json", timeout=10).json()
    person = Visitor(harness, person_with_permissions(harness.platform, *PERMISSIONS.split()))
    person.profile()
    person.post(f"/v1/courses/{COURSE}/publish")  # an earlier run of every operation may have unpublished it
    answers = {}
    for method, path, operation in operations(document):
        name = operation["operationId"]
        if name in EXCLUDED:
            continue
        stored = method == "POST" and not operation.get("x-returns-secret")
        headers = {"Idempotency_Key": uuid4().hex} if stored else {}
        if {"$ref": "#/components/parameters/IfMatch"} in operation.get("parameters", []):
            headers["If_Match"] = version_of(person, path)
        answer = person.person.send(method, path, body_of(operation), **headers)
        answers[name] = answer.status_code
        assert answer.ok, f"{name}: {answer.status_code} {answer.text}"
        assert str(answer.status_code) in operation["responses"]
        if name == FIRST:
            eventually(lambda path=path: person.progress(path.split("/")[3]))

    assert len(answers) > 30
    assert set(EXCLUDED) <= {operation["operationId"] for _, _, operation in operations(document)}
