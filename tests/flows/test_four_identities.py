"""Every route, called by nobody, by another user, by the owner of what it names, and by an admin: with real objects.

A route is expected to be as its policy says, by mechanism. Where somebody's object is named in the path, another user
finds none (404). What is otherwise stands below, with its reason; a new kind of object needs a line in ``belongings``.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

import settings
from api.examples import BODIES
from tests.api.test_policies import ROUTES
from tests.flows.test_contract import PERMISSIONS
from tests.support.platform import Person, Platform
from tests.support.waiting import eventually

from .shop import Shop, Visitor

pytestmark = pytest.mark.flow

IN = "let in"  # whatever else may be wrong with the request: it is not said to be a stranger's
UNKNOWN, FORBIDDEN, NOT_FOUND = 401, 403, 404

IN_OR_NOT_THERE = frozenset({IN, NOT_FOUND})

# Permissions to do something with what is one's own; all others are to do it with anybody's.
TO_OWN_THINGS = {"courses:write"}

Outcomes = tuple[Any, Any, Any, Any]  # for nobody, another user, the owner, an admin

OPEN_TO_ALL: Outcomes = (IN, IN, IN, IN)
EXCEPTIONS: dict[str, Outcomes] = {
    # What is on sale, and what its holder shows around.
    "GET /v1/courses/<ref>": OPEN_TO_ALL,
    "GET /v1/courses/<uuid:course_id>/reviews": OPEN_TO_ALL,
    "GET /v1/plans/<uuid:plan_id>": OPEN_TO_ALL,
    "GET /v1/bundles/<uuid:bundle_id>": OPEN_TO_ALL,
    "GET /v1/certificates/<code>": OPEN_TO_ALL,
    "GET /docs/<path:name>": OPEN_TO_ALL,
    # Whoever has the link of a mail may end such mails.
    "GET /v1/unsubscribe/<token>": OPEN_TO_ALL,
    "POST /v1/unsubscribe/<token>": OPEN_TO_ALL,
    # Without its signature a hook is nobody's; YooKassa's come from its own addresses.
    "POST /v1/webhooks/yookassa": (FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN),
    "POST /v1/webhooks/auth0": (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
    # It leads on to another process, to which these clients take no token along.
    "GET /v1/me/notifications/stream": (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
    # Nobody has asked for one yet.
    "GET /v1/me/export": (UNKNOWN, NOT_FOUND, NOT_FOUND, NOT_FOUND),
    # A course is everybody's to ask about; its lessons are for those who have access, and for admins.
    "POST /v1/courses/<uuid:course_id>/enrollments": (UNKNOWN, IN, IN, IN),
    "GET /v1/me/courses/<uuid:course_id>/access": (UNKNOWN, IN, IN, IN),
    "GET /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>": (UNKNOWN, FORBIDDEN, IN, IN),
    "PUT /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/completion": (UNKNOWN, FORBIDDEN, IN, FORBIDDEN),
    "DELETE /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/completion": (UNKNOWN, FORBIDDEN, IN, FORBIDDEN),
    "GET /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/position": (UNKNOWN, FORBIDDEN, IN, FORBIDDEN),
    "PUT /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/position": (UNKNOWN, FORBIDDEN, IN, FORBIDDEN),
    "POST /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts": (UNKNOWN, FORBIDDEN, IN, IN),
    "POST /v1/courses/<uuid:course_id>/reviews": (UNKNOWN, FORBIDDEN, IN, FORBIDDEN),
    # Support reads orders (payments:read).
    "GET /v1/orders/<uuid:order_id>": (UNKNOWN, NOT_FOUND, IN, IN),
    "GET /v1/orders/<uuid:order_id>/invoice": (UNKNOWN, NOT_FOUND, IN, IN),
    "GET /v1/orders/<uuid:order_id>/refunds": (UNKNOWN, NOT_FOUND, IN, IN),
    "GET /v1/orders/<uuid:order_id>/timeline": (UNKNOWN, NOT_FOUND, IN, IN),
}


@dataclass(frozen=True)
class Cast:
    """Who calls, and what the owner has: by the names that paths have for it."""

    nobody: Person
    other: Person
    owner: Person
    admin: Person
    belongings: dict[str, str]

    def path(self, rule: str) -> str:
        """The rule's path to the owner's things; what the owner has none of is named, but is not there."""
        things = {name: self.belongings.get(name, str(uuid4())) for name in names_in(rule)}
        for name, thing in things.items():
            rule = re.sub(rf"<(\w+:)?{name}>", thing, rule)
        return rule


def names_in(rule: str) -> list[str]:
    return re.findall(r"<(?:\w+:)?(\w+)>", rule)


def bearer(stack: Platform, *permissions: str) -> Person:
    claims = {
        "sub": f"auth0|{uuid4().hex}",
        "iss": f"{stack.auth0}/",
        "aud": settings.AUTH0_AUDIENCE,
        "exp": int(time.time()) + 3600,
        "permissions": list(permissions),
        f"{settings.CLAIMS_NAMESPACE}email": f"{uuid4().hex}@example.com",
        f"{settings.CLAIMS_NAMESPACE}email_verified": True,
    }
    return stack.minted(claims)


def made(answer: Any) -> dict[str, Any]:
    assert answer.ok, answer.text
    return dict(answer.json())


def belongings(shop: Shop, owner: Person, admin: Person) -> dict[str, str]:
    """One of each kind of thing that a path can name, all of them the owner's."""
    visitor = Visitor(shop, owner)
    user_id = visitor.profile()["id"]
    course = made(owner.post("/v1/courses", COURSE))
    section = made(owner.post(f"/v1/courses/{course['id']}/sections", {"title": "All"}))
    lesson = {"title": "One", "section_id": section["id"], "kind": "text", "content": {"body": "Words."}}
    lesson_id = made(owner.post(f"/v1/courses/{course['id']}/lessons", lesson))["id"]
    made(owner.post(f"/v1/courses/{course['id']}/publish"))
    eventually(lambda: admin.post(f"/v1/courses/{course['id']}/enrollments", {"user_id": user_id}).ok)
    eventually(lambda: visitor.progress(course["id"]), seconds=45)
    completion = f"/v1/courses/{course['id']}/lessons/{lesson_id}/completion"
    operation = made(owner.put(completion, Prefer="respond-async"))
    certificates = eventually(lambda: owner.get("/v1/me/certificates").json()["items"])
    notes = eventually(lambda: owner.get("/v1/me/notifications").json()["items"], seconds=45)
    checkout = visitor.check_out(shop.paid_course()["id"])
    plan = made(owner.post("/v1/checkouts", {"plan_id": PLAN, "provider": "stripe"}))
    shop.pay(plan["redirect_url"])
    subscriptions = eventually(lambda: owner.get("/v1/me/subscriptions").json()["items"], seconds=45)
    device = made(owner.post("/v1/me/devices", BODIES["NewDevice"]))
    price = {"amount_minor": 100, "currency": "USD"}
    bundle = {"title": "One of them", "price": price, "course_ids": [course["id"]]}
    bundle_id = eventually(lambda: admin.post("/v1/bundles", bundle).json().get("id"), seconds=45)
    return {
        "user_id": user_id,
        "ref": course["id"],
        "course_id": course["id"],
        "course_version": "1",
        "section_id": section["id"],
        "lesson_id": lesson_id,
        "operation_id": operation["id"],
        "code": certificates[0]["code"],
        "note_id": notes[0]["id"],
        "checkout_id": checkout["id"],
        "order_id": checkout["order_id"],
        "bundle_id": bundle_id,
        "plan_id": PLAN,
        "subscription_id": subscriptions[0]["id"],
        "device_id": device["id"],
        "token": eventually(lambda: unsubscribe_token(shop.platform, visitor.profile()["email"]), seconds=45),
        "name": "start.js",
    }


def unsubscribe_token(stack: Platform, address: str) -> str | None:
    """That of a mail to ``address``, once one has come that may be ended."""
    links = [mail["headers"].get("List-Unsubscribe") for mail in stack.mails(address)]
    return next((link.strip("<>").rpartition("/")[2] for link in links if link), None)


PLAN = BODIES["PlanSubscriptionRequest"]["plan_id"]
COURSE = {
    "title": "Whose course is this",
    "category": "law",
    "level": "beginner",
    "language": "en",
    "price": {"amount_minor": 100, "currency": "USD"},
}


@pytest.fixture(scope="module")
def cast_of(running_platform: Platform) -> Callable[[Shop], Cast]:
    known: list[Cast] = []

    def cast(shop: Shop) -> Cast:
        if not known:
            owner, admin = bearer(running_platform, "courses:write"), bearer(running_platform, *PERMISSIONS.split())
            things = belongings(shop, owner, admin)
            known.append(Cast(running_platform.nobody, bearer(running_platform), owner, admin, things))
        return known[0]

    return cast


def expected(method: str, rule: str, policy: Any, belongings: dict[str, str]) -> Outcomes:
    """What the policy of a route promises."""
    missing = set(names_in(rule)) - set(belongings)
    name = f"{method} {rule}"
    if name in EXCEPTIONS:
        return EXCEPTIONS[name]
    assert not (policy.anybody and "<" in rule), f"who may see what {name} names? Say it in EXCEPTIONS"
    if policy.anybody:
        return OPEN_TO_ALL
    if set(policy.permissions) - TO_OWN_THINGS:
        return (UNKNOWN, FORBIDDEN, FORBIDDEN, IN_OR_NOT_THERE if missing else IN)
    assert not missing, f"give the owner a thing in belongings(): {missing}"
    if "<" not in rule:
        return (UNKNOWN, IN, IN, IN)  # it speaks of the caller, and of nobody else
    return (UNKNOWN, NOT_FOUND, IN, IN if policy.permissions else NOT_FOUND)


def outcome(status: int) -> Any:
    assert status < 500, "that is nobody's fault but ours"
    return status if status in {UNKNOWN, FORBIDDEN, NOT_FOUND} else IN


# The course is on sale until the end.
IN_ORDER = sorted(ROUTES, key=lambda route: (route[1].endswith("/unpublish"), str(route)))
NAMED = [pytest.param(method, rule, policy, id=f"{method} {rule}") for method, rule, policy in IN_ORDER]


@pytest.mark.parametrize(("method", "rule", "policy"), NAMED)
def test_a_route_admits_whom_it_should_and_shows_nobody_anothers_things(shop: Shop, cast_of, method, rule, policy):
    cast = cast_of(shop)
    path = cast.path(rule)
    # Another author has the permission too: it is to change what is theirs.
    others_permissions = [*policy.permissions] if set(policy.permissions) <= TO_OWN_THINGS else []
    other = bearer(shop.platform, *others_permissions) if others_permissions else cast.other
    callers = (cast.nobody, other, cast.owner, cast.admin)

    # Without body and If-Match nothing is changed that others need; strangers are refused before that is looked at.
    met = tuple(outcome(caller.send(method, path).status_code) for caller in callers)

    for one, allowed in zip(met, expected(method, rule, policy, cast.belongings), strict=True):
        assert one in (allowed if isinstance(allowed, frozenset) else {allowed}), met


def test_no_exception_is_for_a_route_that_is_gone():
    assert set(EXCEPTIONS) <= {f"{method} {rule}" for method, rule, _ in ROUTES}
