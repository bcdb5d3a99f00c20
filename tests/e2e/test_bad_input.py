"""Invalid requests are refused with a clear problem and leave nothing behind."""

import json
import time
from uuid import uuid4

import pytest
import requests

import settings

from .harness import ScenarioHarness, eventually

pytestmark = pytest.mark.e2e


def problem(answer: requests.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["X-Request-Id"]
    return body["status"], body["code"]


def claims(**changed: object) -> dict[str, object]:
    now = int(time.time())
    good = {"sub": f"auth0|{uuid4().hex}", "iss": "", "aud": settings.AUTH0_AUDIENCE, "iat": now, "exp": now + 600}
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def test_missing_token_returns_401(harness: ScenarioHarness) -> None:
    answer = harness.visitor().get("/v1/me")
    assert problem(answer) == (401, "token_missing")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("changed", "header"),
    [
        ({"exp": 1}, {}),
        ({"aud": "https://another.example"}, {}),
        ({"iss": "https://another.example/"}, {}),
        ({"sub": None}, {}),
        ({"exp": None}, {}),
        ({}, {"alg": "none"}),
        ({}, {"alg": "HS256"}),
        ({}, {"kid": "unknown"}),
    ],
    ids=["expired", "audience", "issuer", "no sub", "no exp", "alg none", "HS256 with the public key", "unknown key"],
)
def test_invalid_token_returns_401(
    harness: ScenarioHarness, changed: dict[str, object], header: dict[str, str]
) -> None:
    bearer = harness.visitor_with_claims(claims(**{"iss": f"{harness.platform.auth0}/", **changed}), header)
    assert problem(bearer.get("/v1/me")) == (401, "token_invalid")


def test_unknown_course_returns_404(harness: ScenarioHarness) -> None:
    learner = harness.learner()
    assert problem(learner.get(f"/v1/courses/{uuid4()}"))[0] == 404
    bought = learner.post("/v1/checkouts", {"course_id": str(uuid4()), "provider": "stripe"}, key=uuid4().hex)
    assert problem(bought)[0] == 404


def test_invalid_fields_return_422_with_pointers(harness: ScenarioHarness) -> None:
    body = {"course_id": 7, "provider": "stripe", "discount": 100}
    answer = harness.learner().post("/v1/checkouts", body, key=uuid4().hex)
    assert problem(answer) == (422, "validation_failed")
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/course_id", "/discount"}


def test_checkout_without_idempotency_key_returns_400(harness: ScenarioHarness) -> None:
    answer = harness.learner().post("/v1/checkouts", {"course_id": str(uuid4()), "provider": "stripe"})
    assert problem(answer) == (400, "idempotency_key_missing")


def test_webhook_with_invalid_signature_returns_400(harness: ScenarioHarness) -> None:
    learner = harness.learner()
    learner.profile()
    checkout = learner.check_out(harness.paid_course()["id"])
    forged = {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "type": "checkout.session.completed",
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": {"id": checkout["redirect_url"].rsplit("/", 1)[1], "object": "checkout.session"}},
    }
    answer = requests.post(
        f"{harness.platform.url}/v1/webhooks/stripe",
        data=json.dumps(forged),
        headers={"Stripe-Signature": f"t={int(time.time())},v1={'0' * 64}", "Content-Type": "application/json"},
        timeout=10,
    )
    assert problem(answer) == (400, "signature_invalid")
    assert learner.get(f"/v1/orders/{checkout['order_id']}").json()["status"] == "pending"


def test_order_of_another_user_returns_404(harness: ScenarioHarness) -> None:
    owner, stranger = harness.learner(), harness.learner()
    owner.profile()
    checkout = owner.check_out(harness.paid_course()["id"])
    assert problem(stranger.get(f"/v1/orders/{checkout['order_id']}"))[0] == 404


def test_lesson_without_access_returns_403(harness: ScenarioHarness) -> None:
    learner, course = harness.learner(), harness.paid_course()
    lesson_id = learner.lessons(course["id"])[0]
    answer = learner.put(f"/v1/courses/{course['id']}/lessons/{lesson_id}/completion")
    assert problem(answer) == (403, "not_enrolled")
    assert problem(learner.get(f"/v1/courses/{course['id']}/progress")) == (404, "not_enrolled")


def test_gateway_is_ready(harness: ScenarioHarness) -> None:
    assert eventually(lambda: harness.visitor().get("/readyz").status_code == 200)
