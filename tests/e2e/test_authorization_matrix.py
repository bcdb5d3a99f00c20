"""Authorization matrix: every route, called anonymously, by another user, by the owner of its objects and by an admin.

The expected outcome of a route follows from its policy. If the path names an object of the owner, another user gets
404. ``EXCEPTIONS`` lists all other outcomes with their reasons. A new kind of object needs a line in
``owner_resources``.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

import settings
from api.openapi_examples import BODIES
from tests.e2e.test_contract import PERMISSIONS
from tests.integration.api.test_policies import ROUTES
from tests.support.platform import Person, Platform
from tests.support.polling import eventually

from .harness import ScenarioHarness, Visitor

ALLOWED = "allowed"  # any status but 401, 403 and 404, whatever else may be wrong with the request
UNKNOWN, FORBIDDEN, NOT_FOUND = 401, 403, 404

ALLOWED_OR_NOT_FOUND = frozenset({ALLOWED, NOT_FOUND})

# Permissions for the caller's own objects; all others are for the objects of every user.
OWN_RESOURCE_PERMISSIONS = {"courses:write"}

Outcomes = tuple[Any, Any, Any, Any]  # for an anonymous caller, another user, the owner, an admin

PUBLIC: Outcomes = (ALLOWED, ALLOWED, ALLOWED, ALLOWED)
EXCEPTIONS: dict[str, Outcomes] = {
    # Published objects, and certificates that their holder shares.
    "GET /v1/courses/<ref>": PUBLIC,
    "GET /v1/courses/<uuid:course_id>/reviews": PUBLIC,
    "GET /v1/plans/<uuid:plan_id>": PUBLIC,
    "GET /v1/bundles/<uuid:bundle_id>": PUBLIC,
    "GET /v1/certificates/<code>": PUBLIC,
    "GET /v1/certificates/<code>/badge": PUBLIC,
    "GET /v1/badge-keys/<key_id>": PUBLIC,
    "GET /v1/certificates/<code>/status": PUBLIC,
    "GET /docs/<path:name>": PUBLIC,
    # Public, of files that are covers and of users with the role of an instructor; the owner's are not.
    "GET /v1/covers/<uuid:file_id>": (NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND),
    "GET /v1/instructors/<uuid:user_id>": (NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND),
    # The link in a mail unsubscribes without a sign-in.
    "GET /v1/unsubscribe/<token>": PUBLIC,
    "POST /v1/unsubscribe/<token>": PUBLIC,
    # Webhooks need a signature or token; YooKassa's need a known address.
    "POST /v1/webhooks/yookassa": (FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN),
    "POST /v1/webhooks/auth0": (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
    # Redirects to another process; these clients send no token there.
    "GET /v1/me/notifications/stream": (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
    # No export has been requested.
    "GET /v1/me/export": (UNKNOWN, NOT_FOUND, NOT_FOUND, NOT_FOUND),
    # Every user may ask about a course; its lessons need access or an admin.
    "POST /v1/courses/<uuid:course_id>/enrollments": (UNKNOWN, ALLOWED, ALLOWED, ALLOWED),
    "GET /v1/me/courses/<uuid:course_id>/access": (UNKNOWN, ALLOWED, ALLOWED, ALLOWED),
    "GET /v1/me/courses/<uuid:course_id>": (UNKNOWN, FORBIDDEN, ALLOWED, FORBIDDEN),
    "GET /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>": (UNKNOWN, FORBIDDEN, ALLOWED, ALLOWED),
    "PUT /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/completion": (UNKNOWN, FORBIDDEN, ALLOWED, FORBIDDEN),
    "DELETE /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/completion": (UNKNOWN, FORBIDDEN, ALLOWED, FORBIDDEN),
    "GET /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/position": (UNKNOWN, FORBIDDEN, ALLOWED, FORBIDDEN),
    "PUT /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/position": (UNKNOWN, FORBIDDEN, ALLOWED, FORBIDDEN),
    "GET /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts": (UNKNOWN, FORBIDDEN, ALLOWED, ALLOWED),
    "POST /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts": (UNKNOWN, FORBIDDEN, ALLOWED, ALLOWED),
    # Attempts are the caller's own, so staff need access too; the owner has no attempt, because the lesson is no quiz.
    "GET /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/quiz": (UNKNOWN, FORBIDDEN, ALLOWED, FORBIDDEN),
    "POST /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts/start": (
        UNKNOWN,
        FORBIDDEN,
        ALLOWED,
        FORBIDDEN,
    ),
    **dict.fromkeys(
        (
            "PUT /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts/<int:attempt>/answers",
            "POST /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts/<int:attempt>/submission",
        ),
        (UNKNOWN, FORBIDDEN, ALLOWED, FORBIDDEN),
    ),
    "GET /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts/<int:attempt>": (
        *(UNKNOWN, FORBIDDEN, NOT_FOUND, FORBIDDEN),
    ),
    "POST /v1/courses/<uuid:course_id>/reviews": (UNKNOWN, FORBIDDEN, ALLOWED, FORBIDDEN),
    "POST /v1/me/courses/<uuid:course_id>/upgrade": (UNKNOWN, FORBIDDEN, ALLOWED, FORBIDDEN),
    # Support reads orders (payments:read).
    "GET /v1/orders/<uuid:order_id>": (UNKNOWN, NOT_FOUND, ALLOWED, ALLOWED),
    "GET /v1/orders/<uuid:order_id>/invoice": (UNKNOWN, NOT_FOUND, ALLOWED, ALLOWED),
    "GET /v1/orders/<uuid:order_id>/refunds": (UNKNOWN, NOT_FOUND, ALLOWED, ALLOWED),
    "GET /v1/orders/<uuid:order_id>/timeline": (UNKNOWN, NOT_FOUND, ALLOWED, ALLOWED),
}


@dataclass(frozen=True)
class Identities:
    """The callers, and the owner's objects by their names in paths."""

    anonymous: Person
    other: Person
    owner: Person
    admin: Person
    owner_resources: dict[str, str]

    def path(self, rule: str) -> str:
        """Fill the rule with the ids of the owner's objects, or with unknown ids."""
        resources = {name: self.owner_resources.get(name, str(uuid4())) for name in names_in(rule)}
        for name, resource_id in resources.items():
            rule = re.sub(rf"<(\w+:)?{name}>", resource_id, rule)
        return rule


def names_in(rule: str) -> list[str]:
    return re.findall(r"<(?:\w+:)?(\w+)>", rule)


def person_with_permissions(stack: Platform, *permissions: str) -> Person:
    claims = {
        "sub": f"auth0|{uuid4().hex}",
        "iss": f"{stack.auth0}/",
        "aud": settings.AUTH0_AUDIENCE,
        "exp": int(time.time()) + 3600,
        "permissions": list(permissions),
        f"{settings.CLAIMS_NAMESPACE}email": f"{uuid4().hex}@example.com",
        f"{settings.CLAIMS_NAMESPACE}email_verified": True,
    }
    return stack.client_with_claims(claims)


def created(answer: Any) -> dict[str, Any]:
    assert answer.ok, answer.text
    return dict(answer.json())


def owner_resources(harness: ScenarioHarness, owner: Person, admin: Person) -> dict[str, str]:
    """Create one object of each kind that a path can name, all of the owner."""
    visitor = Visitor(harness, owner)
    user_id = visitor.profile()["id"]
    course = created(owner.post("/v1/courses", COURSE))
    section = created(owner.post(f"/v1/courses/{course['id']}/sections", {"title": "All"}))
    lesson = {"title": "One", "section_id": section["id"], "kind": "text", "content": {"body": "Words."}}
    lesson_id = created(owner.post(f"/v1/courses/{course['id']}/lessons", lesson))["id"]
    created(owner.post(f"/v1/courses/{course['id']}/publish"))
    eventually(lambda: admin.post(f"/v1/courses/{course['id']}/enrollments", {"user_id": user_id}).ok)
    eventually(lambda: visitor.progress(course["id"]))
    completion = f"/v1/courses/{course['id']}/lessons/{lesson_id}/completion"
    operation = created(owner.put(completion, Prefer="respond-async"))
    certificates = eventually(lambda: owner.get("/v1/me/certificates").json()["items"])
    notes = eventually(lambda: owner.get("/v1/me/notifications").json()["items"])
    checkout = visitor.check_out(harness.paid_course()["id"])
    plan = created(owner.post("/v1/checkouts", {"plan_id": PLAN, "provider": "stripe"}))
    harness.pay(plan["redirect_url"])
    subscriptions = eventually(lambda: owner.get("/v1/me/subscriptions").json()["items"])
    device = created(owner.post("/v1/me/devices", BODIES["NewDevice"]))
    review = created(owner.post(f"/v1/courses/{course['id']}/reviews", {"rating": 5}))
    file = created(owner.post(f"/v1/courses/{course['id']}/files", BODIES["FileFields"]))
    price = {"amount_minor": 100, "currency": "USD"}
    bundle = {"title": "Bundle of one", "price": price, "course_ids": [course["id"]]}
    bundle_id = eventually(lambda: admin.post("/v1/bundles", bundle).json().get("id"))
    announcement = created(owner.post(f"/v1/courses/{course['id']}/announcements", BODIES["AnnouncementFields"]))
    batch = created(admin.post(f"/v1/courses/{course['id']}/enrollment-batches", BODIES["EnrollmentBatchFields"]))
    [badge_key] = owner.get("/.well-known/jwks.json").json()["keys"]
    return {
        "user_id": user_id,
        "announcement_id": announcement["id"],
        "batch_id": batch["id"].removeprefix("courses-"),  # the UUID of its operation
        "key_id": badge_key["kid"].rpartition("/")[2],
        "ref": course["id"],
        "course_id": course["id"],
        "course_version": "1",
        "attempt": "1",
        "section_id": section["id"],
        "lesson_id": lesson_id,
        "review_id": review["id"],
        "file_id": file["id"],
        "operation_id": operation["id"],
        "code": certificates[0]["code"],
        "notification_id": notes[0]["id"],
        "checkout_id": checkout["id"],
        "order_id": checkout["order_id"],
        "bundle_id": bundle_id,
        "plan_id": PLAN,
        "subscription_id": subscriptions[0]["id"],
        "device_id": device["id"],
        "token": eventually(lambda: unsubscribe_token(harness.platform, visitor.profile()["email"])),
        "name": "start.js",
    }


def unsubscribe_token(stack: Platform, address: str) -> str | None:
    """Return the token of a mail to ``address`` that has an unsubscribe link, or None."""
    links = [mail["headers"].get("List-Unsubscribe") for mail in stack.mails(address)]
    return next((link.strip("<>").rpartition("/")[2] for link in links if link), None)


PLAN = BODIES["PlanSubscriptionRequest"]["plan_id"]
COURSE = {
    "title": "Authorization matrix",
    "category": "law",
    "level": "beginner",
    "language": "en",
    "price": {"amount_minor": 100, "currency": "USD"},
}


@pytest.fixture(scope="module")
def identities_of(running_platform: Platform) -> Callable[[ScenarioHarness], Identities]:
    created_identities: list[Identities] = []

    def identities(harness: ScenarioHarness) -> Identities:
        if not created_identities:
            owner, admin = (
                person_with_permissions(running_platform, "courses:write"),
                person_with_permissions(running_platform, *PERMISSIONS.split()),
            )
            resources = owner_resources(harness, owner, admin)
            created_identities.append(
                Identities(
                    running_platform.anonymous, person_with_permissions(running_platform), owner, admin, resources
                )
            )
        return created_identities[0]

    return identities


def expected(method: str, rule: str, policy: Any, owner_resources: dict[str, str]) -> Outcomes:
    """Return the outcomes that the policy of a route requires."""
    missing = set(names_in(rule)) - set(owner_resources)
    name = f"{method} {rule}"
    if name in EXCEPTIONS:
        return EXCEPTIONS[name]
    assert not (policy.anonymous and "<" in rule), f"add {name} to EXCEPTIONS: who may see its object?"
    if policy.anonymous:
        return PUBLIC
    if set(policy.permissions) - OWN_RESOURCE_PERMISSIONS:
        return (UNKNOWN, FORBIDDEN, FORBIDDEN, ALLOWED_OR_NOT_FOUND if missing else ALLOWED)
    assert not missing, f"add to owner_resources(): {missing}"
    if "<" not in rule:
        return (UNKNOWN, ALLOWED, ALLOWED, ALLOWED)  # concerns the caller only
    return (UNKNOWN, NOT_FOUND, ALLOWED, ALLOWED if policy.permissions else NOT_FOUND)


def outcome(status: int) -> Any:
    assert status < 500, "server error"
    return status if status in {UNKNOWN, FORBIDDEN, NOT_FOUND} else ALLOWED


# These end what other routes need: they come last.
LAST = ("POST /v1/courses/<ref>/unpublish", "DELETE /v1/me/courses/<uuid:course_id>/review")
LAST += ("POST /v1/me/courses/<uuid:course_id>/leave",)
IN_ORDER = sorted(ROUTES, key=lambda route: (f"{route[0]} {route[1]}" in LAST, str(route)))
ROUTE_PARAMS = [pytest.param(method, rule, policy, id=f"{method} {rule}") for method, rule, policy in IN_ORDER]


@pytest.mark.parametrize(("method", "rule", "policy"), ROUTE_PARAMS)
def test_authorization_matrix(harness: ScenarioHarness, identities_of, method, rule, policy):
    identities = identities_of(harness)
    path = identities.path(rule)
    # Another author has the same permission, but for their own objects only.
    others_permissions = [*policy.permissions] if set(policy.permissions) <= OWN_RESOURCE_PERMISSIONS else []
    other = person_with_permissions(harness.platform, *others_permissions) if others_permissions else identities.other
    callers = (identities.anonymous, other, identities.owner, identities.admin)

    # Without a body and If-Match the requests change nothing; authorization is checked before both.
    outcomes = tuple(outcome(caller.send(method, path).status_code) for caller in callers)

    for actual, allowed in zip(outcomes, expected(method, rule, policy, identities.owner_resources), strict=True):
        assert actual in (allowed if isinstance(allowed, frozenset) else {allowed}), outcomes


def test_matrix_exceptions_name_existing_routes():
    assert set(EXCEPTIONS) <= {f"{method} {rule}" for method, rule, _ in ROUTES}
