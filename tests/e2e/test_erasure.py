"""Scenario: a user gets a role, exports all data, and is erased by every service and in Auth0."""

from uuid import uuid4

import pytest
import requests

from settings import SERVICES
from tests.integration.users.personal_data import in_tables
from tests.support.platform import Person, Platform
from tests.support.polling import eventually


@pytest.fixture
def admin(stack: Platform) -> Person:
    return stack.person("admin@demo.test")


def profile(person: Person) -> requests.Response:
    """Return the response of GET /v1/me once the profile has been saved."""
    eventually(lambda: person.get("/v1/me").json()["version"] >= 2, "the profile")
    return person.get("/v1/me")


def finished_operation(person: Person, accepted: requests.Response) -> dict:
    assert accepted.status_code == 202, accepted.text
    where = accepted.headers["Location"]
    eventually(lambda: person.get(where).json()["status"] != "running", "the end of the operation", seconds=60)
    return person.get(where).json()


def test_assigned_role_is_in_next_token(stack: Platform, admin: Person):
    learner = stack.person()
    profile(learner)
    listed = admin.get(f"/v1/users?q={learner.email}").json()["items"]
    assert [user["email"] for user in listed] == [learner.email]
    [user] = listed
    if_match = {"If_Match": f'"{user["version"]}"'}
    assigned = admin.put(f"/v1/users/{user['id']}/roles", {"roles": ["instructor"]}, **if_match)
    assert assigned.status_code == 200, assigned.text

    course = {"title": "Mine", "summary": "s", "description": "d", "category": "c", "level": "beginner"}
    course |= {"language": "en", "tags": [], "price": {"amount_minor": 0, "currency": "USD"}}
    assert learner.post("/v1/courses", course).status_code == 403  # the old token
    assert stack.person(learner.email).post("/v1/courses", course).status_code == 201


def test_export_then_erasure_leaves_receipt_only(stack: Platform):
    learner = stack.person(f"{uuid4().hex}@example.com")
    etag = profile(learner).headers["ETag"]
    free = next(
        course for course in learner.get("/v1/courses?limit=100").json()["items"] if not course["price"]["amount_minor"]
    )
    assert learner.post(f"/v1/courses/{free['id']}/enrollments", {}).status_code in {200, 201}
    stack.wait_until_handled()

    export = finished_operation(learner, learner.post("/v1/me/export"))
    assert export["status"] == "succeeded"
    parts = learner.get("/v1/me/export").json()["services"]
    assert parts["users"]["profile"]["email"] == learner.email
    assert parts["progress"]["courses"][0]["course_id"] == free["id"]

    receipt = finished_operation(learner, learner.send("DELETE", "/v1/me", If_Match=etag))
    assert receipt["status"] == "succeeded"
    services = {part["service"]: part for part in receipt["result"]["services"]}
    assert set(services) == {"auth0", *SERVICES}
    stack.wait_until_handled()
    assert list(in_tables(learner.email or "", stack.database)) == []
    assert learner.get("/v1/me").json()["code"] == "account_erased"
