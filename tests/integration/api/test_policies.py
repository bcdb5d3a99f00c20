"""Every route has a policy and rejects callers that the policy does not allow."""

import time

import pytest
from flask import Flask

from api import create_app
from api.rate_limits import PAYMENT
from api.view_attributes import Policy, attributes_of
from tests.support.gateway import Person, gateway, problem

MACHINE = {"gty": "client-credentials", "sub": "integrator@clients"}
_UNUSED_ID = "0190f0a0-0000-7000-8000-000000000000"
_UNKNOWN_VALUES = {"<uuid:": _UNUSED_ID, "<int:": "1", "<": "nothing"}


def policies(app: Flask) -> list[tuple[str, str, Policy | None]]:
    """Return method, path and policy of each route."""
    found = []
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            handler = getattr(view.view_class, method.lower()) if hasattr(view, "view_class") else view
            found.append((method, rule.rule, attributes_of(handler).policy))
    return found


def path_of(rule: str) -> str:
    """Return a path that matches ``rule`` with ids that do not exist."""
    parts = [
        next((value for kind, value in _UNKNOWN_VALUES.items() if part.startswith(kind)), part)
        for part in rule.split("/")
    ]
    return "/".join(parts)


ROUTES = policies(gateway())
GUARDED = [(method, rule, policy) for method, rule, policy in ROUTES if policy and not policy.anonymous]
NAMED = [f"{method} {rule}" for method, rule, _ in GUARDED]


def test_every_route_has_a_policy():
    assert [f"{method} {rule}" for method, rule, policy in ROUTES if policy is None] == []


def test_routes_calling_a_provider_have_the_payment_limit():
    limited = {f"{method} {rule}" for method, rule, policy in ROUTES if policy.limit is PAYMENT}

    assert limited >= {
        "POST /v1/checkouts",
        "POST /v1/checkouts/<uuid:checkout_id>/sync",
        "POST /v1/orders/<uuid:order_id>/cancel",
        "POST /v1/orders/<uuid:order_id>/refunds",
        "POST /v1/subscriptions",
    }


def test_route_without_policy_is_detected():
    app = create_app()
    app.add_url_rule("/v1/forgotten", view_func=lambda: "", endpoint="forgotten")

    assert [rule for _, rule, policy in policies(app) if policy is None] == ["/v1/forgotten"]


def test_public_routes_are_allowlisted():
    public_routes = {f"{method} {rule}" for method, rule, policy in ROUTES if policy.anonymous}

    # A new public route must be added here, so that it is reviewed.
    assert public_routes == {
        "GET /",  # a redirect to the pages, where WEB_URL names them
        "GET /docs",
        "GET /docs/<path:name>",
        "GET /docs/start.js",
        "GET /livez",
        "GET /openapi.json",
        "GET /readyz",
        "GET /v1/certificates/<code>",
        "GET /v1/courses",
        "GET /v1/courses/<ref>",
        "GET /v1/courses/<uuid:course_id>/lessons/<uuid:lesson_id>",
        "GET /v1/covers/<uuid:file_id>",  # covers are shown in the catalogue
        "GET /v1/instructors/<uuid:user_id>",  # the names of those who teach
        "GET /v1/unsubscribe/<token>",
        "POST /v1/unsubscribe/<token>",
        "GET /v1/courses/<uuid:course_id>/reviews",
        "GET /v1/me/notifications/stream",  # a redirect; the stream authenticates
        "GET /.well-known/jwks.json",
        "GET /v1/badge-issuer",
        "GET /v1/badge-keys/<key_id>",
        "GET /v1/certificates/<code>/badge",
        "GET /v1/certificates/<code>/status",
        "GET /v1/bundles",
        "GET /v1/bundles/<uuid:bundle_id>",
        "GET /v1/plans",
        "GET /v1/plans/<uuid:plan_id>",
        "POST /v1/webhooks/auth0",
        "POST /v1/webhooks/email",
        "POST /v1/webhooks/stripe",
        "POST /v1/webhooks/yookassa",
    }


@pytest.mark.parametrize(("method", "rule", "policy"), GUARDED, ids=NAMED)
def test_guarded_route_requires_token_and_permission(ann: Person, method, rule, policy):
    path = path_of(rule)
    ann.permissions = ()

    assert problem(ann.client.open(path, method=method)) == (401, "token_missing")
    if policy.permissions:
        assert problem(ann.send(method, path)) == (403, "insufficient_permission")
    if not policy.machines:
        ann.permissions = policy.permissions
        assert problem(ann.send(method, path, claims=MACHINE)) == (403, "machine_token_not_allowed")


def test_machine_token_is_accepted_if_policy_allows(ann: Person):
    assert ann.send("GET", "/v1/things/machines", claims=MACHINE).json == {"sub": "integrator@clients"}
    ann.permissions = ()
    assert problem(ann.send("GET", "/v1/things/machines", claims=MACHINE)) == (403, "insufficient_permission")


def test_public_route_identifies_caller_and_rejects_bad_token(ann: Person):
    assert ann.client.get("/v1/things").json["visitor"] is None
    assert ann.get("/v1/things").json["visitor"] == ann.sub
    assert ann.send("GET", "/v1/things", claims=MACHINE).json["visitor"] is None
    assert problem(ann.send("GET", "/v1/things", claims={"exp": int(time.time()) - 60})) == (401, "token_invalid")


def test_raw_webhook_accepts_any_body(client):
    assert client.post("/v1/things/hook", data=b"\x00 no JSON", content_type="text/plain").status_code == 200
