"""Scenario: integrators receive events by webhooks and by the event feed."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jsonschema
import pytest
import requests

from tests.e2e.harness import problem
from tests.support.platform import Person, Platform
from tests.support.polling import eventually
from tests.support.receiver import ReceivedWebhook, Receiver, running_receiver


class Integrator:
    """A webhook endpoint for USER_CREATED, with its receiver."""

    def __init__(self, admin: Person, receiver: Receiver) -> None:
        self.admin = admin
        self.receiver = receiver
        body = {"url": receiver.url, "event_types": ["USER_CREATED"], "description": "test endpoint"}
        created = admin.post("/v1/webhook-endpoints", body)
        assert created.status_code == 201, created.text
        self.secret = created.json()["secret"]
        self.path = f"/v1/webhook-endpoints/{created.json()['id']}"

    def received_for(self, user_id: str) -> list[ReceivedWebhook]:
        return [each for each in list(self.receiver.received) if each.event["data"].get("user_id") == user_id]

    def wait_for(self, user_id: str, times: int = 1) -> list[ReceivedWebhook]:
        eventually(lambda: len(self.received_for(user_id)) >= times, f"webhook {times}")
        return self.received_for(user_id)

    def delivery_of(self, received: ReceivedWebhook) -> dict[str, Any]:
        deliveries = self.admin.get(f"{self.path}/deliveries?limit=100").json()["items"]
        return next(each for each in deliveries if each["event_id"] == received.webhook_id)

    def wait_until(self, received: ReceivedWebhook, **expected: Any) -> dict[str, Any]:
        def matching_delivery() -> Any:
            delivery = self.delivery_of(received)
            return expected.items() <= delivery.items() and delivery

        return dict(eventually(matching_delivery, f"a delivery with {expected}"))


@pytest.fixture
def admin(stack: Platform) -> Person:
    return stack.person("admin@demo.test")


@pytest.fixture
def integrate(admin: Person) -> Iterator[Any]:
    """``integrate(*answers)`` creates an integrator whose receiver gives these answers first, and 204 afterwards."""
    with ExitStack() as stack:

        def make(*answers: Any) -> Integrator:
            integrator = Integrator(admin, stack.enter_context(running_receiver(*answers)))
            stack.callback(lambda: admin.send("DELETE", integrator.path))
            return integrator

        yield make


def sign_up(stack: Platform) -> str:
    """Create an account; returns the user's id."""
    return str(stack.person().get("/v1/me").json()["id"])


def feed(admin: Person, after: str, *types: str) -> Iterator[dict[str, Any]]:
    """Yield all events after ``after``, page by page."""
    has_more = True
    while has_more:
        request = requests.Request(params={"after": after, "limit": 3, "type": types}, url="http://x", method="GET")
        page = admin.get("/v1/events?" + str(request.prepare().url).partition("?")[2]).json()
        yield from page["items"]
        after, has_more = page["next_after"], page["has_more"]


def test_new_user_event_is_published_without_pii(stack: Platform, admin: Person, integrate):
    integrator = integrate()
    user_id = sign_up(stack)
    [received] = integrator.wait_for(user_id)
    event = received.verified(integrator.secret)

    assert event["type"] == "USER_CREATED"
    assert (received.webhook_id, received.headers["content-type"]) == (event["id"], "application/cloudevents+json")
    before = str(int(event["position"]) - 1)
    assert next(feed(admin, before, "USER_CREATED")) == event
    assert next(feed(admin, before))["id"] == event["id"]
    assert not {"pii", "sub"} & set(event["data"])
    delivery = integrator.wait_until(received, status="delivered")
    assert (delivery["attempts"], delivery["status_code"], delivery["error"]) == (1, 204, None)


def test_redirect_is_not_followed_but_retried(stack: Platform, integrate):
    other_integrator = integrate()

    def redirect(handler) -> None:
        handler.send_response(308)
        handler.send_header("Location", other_integrator.receiver.url)
        handler.end_headers()

    integrator = integrate(redirect)
    user_id = sign_up(stack)
    attempts = integrator.wait_for(user_id, times=2)

    assert len({received.webhook_id for received in attempts}) == 1
    assert all(received.verified(integrator.secret) for received in attempts)
    assert integrator.wait_until(attempts[0], status="delivered")["attempts"] == 2
    assert len(other_integrator.received_for(user_id)) == 1  # its own registration
    assert integrator.admin.get(integrator.path).json()["failures"] == 0


def test_worker_crash_resends_in_flight_webhook(stack: Platform, integrate):
    def wait(_handler) -> None:
        time.sleep(1.5)

    integrator = integrate(wait)
    user_id = sign_up(stack)
    [interrupted] = integrator.wait_for(user_id)
    stack.kill("worker-integrations")
    during = sign_up(stack)
    twice = integrator.wait_for(user_id, times=2)

    assert {received.webhook_id for received in twice} == {interrupted.webhook_id}
    assert integrator.wait_until(interrupted, status="delivered")["attempts"] == 2
    assert len(integrator.wait_for(during)) == 1


def test_failed_deliveries_are_shown_and_replayed(stack: Platform, admin: Person, integrate):
    integrator = integrate(500, 503)
    user_id = sign_up(stack)
    attempts = integrator.wait_for(user_id, times=2)
    delivery = integrator.wait_until(attempts[0], attempts=2, error="status_503")
    assert (delivery["status"], delivery["status_code"]) == ("pending", 503)

    replayed = admin.post(f"{integrator.path}/deliveries/{delivery['id']}/replay")
    assert replayed.status_code == 200, replayed.text
    assert integrator.wait_for(user_id, times=3)[-1].webhook_id == attempts[0].webhook_id
    integrator.wait_until(attempts[0], status="delivered")

    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    for out_of_range in ("0283-10-05T03:15:01-20:29", "9999-12-31T23:59:59-12:00"):
        assert problem(admin.post(f"{integrator.path}/replay", {"since": out_of_range})) == (422, "validation_failed")
    later = "2199-01-01T00:00:00-20:29"  # the open end covers past events, which are sent now
    again = admin.post(f"{integrator.path}/replay", {"since": since, "until": later, "all_events": True})
    assert again.json()["scheduled"] >= 1
    integrator.wait_for(user_id, times=4)


def test_trial_delivery_reports_result_and_secrets_overlap(admin: Person, integrate):
    integrator = integrate(204, 503)
    rotated = admin.post(f"{integrator.path}/rotate-secret").json()
    good, bad = (admin.post(f"{integrator.path}/test").json() for _ in range(2))

    assert (good["delivered"], good["status_code"]) == (True, 204)
    assert (bad["delivered"], bad["error"]) == (False, "status_503")
    [received, _] = integrator.receiver.of_type("WEBHOOK_TEST")
    assert received.verified(integrator.secret) == received.verified(rotated["secret"])
    assert "secret" not in admin.get(integrator.path).json()


def test_disabled_endpoint_receives_nothing(stack: Platform, admin: Person, integrate):
    disabled_endpoint, enabled_endpoint = integrate(), integrate()
    etag = admin.get(disabled_endpoint.path).headers["ETag"]
    disabled = admin.send("PATCH", disabled_endpoint.path, {"enabled": False}, If_Match=etag).json()
    late = admin.send("PATCH", disabled_endpoint.path, {"enabled": True}, If_Match=etag)
    assert problem(late) == (412, "precondition_failed")
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "manual")
    user_id = sign_up(stack)
    enabled_endpoint.wait_for(user_id)

    assert disabled_endpoint.received_for(user_id) == []
    assert problem(admin.post(f"{disabled_endpoint.path}/replay", {"since": "2026-01-01T00:00:00Z"})) == (
        409,
        "endpoint_disabled",
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "https://10.0.0.1/hook"}, "webhook_url_not_allowed"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "webhook_url_not_allowed"),
        ({"url": "https://167772161/hook"}, "webhook_url_not_allowed"),
        ({"url": "https://[fd00::1]/hook"}, "webhook_url_not_allowed"),
        ({"url": "http://93.184.216.34/hook"}, "webhook_url_not_allowed"),
        ({"url": "https://user:password@example.com/"}, "webhook_url_not_allowed"),
        ({"url": "ftp://example.com/"}, "validation_failed"),
        ({"url": "http://127.0.0.1:9/", "event_types": ["COURSE_EATEN"]}, "unknown_event_type"),
        ({"url": "http://127.0.0.1:9/", "secret": "whsec_mine"}, "validation_failed"),
        ({}, "validation_failed"),
    ],
    ids=str,
)
def test_invalid_endpoint_is_rejected(admin: Person, body: dict[str, Any], code: str):
    assert problem(admin.post("/v1/webhook-endpoints", body)) == (422, code)


def test_unknown_endpoint_or_dead_letter_returns_404(admin: Person):
    path = f"/v1/webhook-endpoints/{uuid4()}"
    for answer in (
        admin.get(path),
        admin.send("PATCH", path, {"enabled": True}),
        admin.send("DELETE", path),
        admin.get(f"{path}/deliveries"),
        admin.post(f"{path}/test"),
        admin.post(f"{path}/rotate-secret"),
        admin.post(f"{path}/deliveries/{uuid4()}/replay"),
        admin.post("/v1/dead-letters/courses-999999999/replay"),
        admin.post("/v1/dead-letters/unknown-1/replay"),
    ):
        assert problem(answer) == (404, "not_found")


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("type=COURSE_EATEN", (422, "unknown_event_type")),
        ("after=soon", (422, "validation_failed")),
        ("after=999999999999", (400, "cursor_invalid")),
        ("limit=0", (422, "validation_failed")),
        ("before=1", (422, "validation_failed")),
    ],
)
def test_invalid_event_feed_query_is_rejected(admin: Person, query: str, refused: tuple[int, str]):
    assert problem(admin.get(f"/v1/events?{query}")) == refused


def test_dead_letters_are_listed_and_replayed(stack: Platform, admin: Person):
    user_id = sign_up(stack)
    key = uuid4().hex
    stack.database.execute(
        """INSERT INTO bus.dead_letters
               (handler, event_id, topic, key, type, payload, headers, reason, status, created_at, published_at)
           SELECT 'users.refresh_profile_cache', gen_random_uuid(), 'users', :key, 'USER_UPDATED',
                  jsonb_build_object('user_id', CAST(:user_id AS text), 'version', n, 'updated_at', now(),
                                     'pii', '{"email": null, "name": null}'::jsonb),
                  '{"partition": 0, "offset": 0}', 'a test', 'open', now(), now()
           FROM generate_series(1, 2) n""",
        key=key,
        user_id=user_id,
    )

    def dead_letter_ids(status: str) -> list[str]:
        found, path = [], f"/v1/dead-letters?limit=1&status={status}"
        while path:
            answer = admin.get(path)
            found += [dead_letter["id"] for dead_letter in answer.json()["items"] if dead_letter["key"] == key]
            path = answer.links.get("next", {}).get("url", "").removeprefix(stack.url)
        return found

    names = dead_letter_ids("open")
    assert len(names) == 2
    replayed = admin.post(f"/v1/dead-letters/{names[0]}/replay")
    assert replayed.json() == {"replayed": names, "failed": None, "remaining": 0}
    assert dead_letter_ids("open") == []
    assert dead_letter_ids("replayed") == names
    assert problem(admin.post(f"/v1/dead-letters/{names[0]}/replay")) == (409, "dead_letter_closed")


def test_webhook_matches_openapi_schema(stack: Platform, integrate: Any):
    integrator, newcomer = integrate(), stack.person()
    user_id = newcomer.get("/v1/me").json()["id"]
    [received] = integrator.wait_for(user_id)
    document = stack.anonymous.get("/openapi.json").json()
    body = document["webhooks"]["USER_CREATED"]["post"]["requestBody"]["content"]["application/cloudevents+json"]
    jsonschema.validate(received.event, {**body["schema"], "components": document["components"]})
    assert {"sub", "pii"}.isdisjoint(document["components"]["schemas"]["UserCreated"]["properties"])


def test_number_of_endpoints_is_limited(admin: Person):
    endpoint_ids = []
    try:
        while (answer := admin.post("/v1/webhook-endpoints", {"url": "http://127.0.0.1:9/"})).status_code == 201:
            endpoint_ids.append(answer.json()["id"])
        assert problem(answer) == (409, "too_many_endpoints")
        assert admin.send("DELETE", f"/v1/webhook-endpoints/{endpoint_ids.pop()}").status_code == 204
        again = admin.post("/v1/webhook-endpoints", {"url": "http://127.0.0.1:9/"})
        assert again.status_code == 201
        endpoint_ids.append(again.json()["id"])
    finally:
        for endpoint_id in endpoint_ids:
            admin.send("DELETE", f"/v1/webhook-endpoints/{endpoint_id}")


def test_webhook_sender_and_stream_export_metrics(stack: Platform, integrate: Any):
    integrator, newcomer = integrate(), stack.person()
    integrator.wait_for(newcomer.get("/v1/me").json()["id"])
    worker = next(each for each in stack.stack.processes if each.name == "worker-integrations")
    metrics_url = f"http://127.0.0.1:{worker.port(stack.stack.port_base)}/metrics"
    count = 'coursebus_webhook_attempt_seconds_count{outcome="delivered"}'
    eventually(lambda: count in requests.get(metrics_url, timeout=5).text, "the attempt's count")
    stream = next(each for each in stack.stack.processes if each.name == "stream")
    numbers = f"http://127.0.0.1:{stream.metrics_port(stack.stack.port_base)}/metrics"
    assert re.search(r"^coursebus_streams \d", requests.get(numbers, timeout=5).text, re.MULTILINE)
    assert problem(requests.get(f"http://127.0.0.1:{stack.stack.port('stream')}/metrics", timeout=5)) == (
        404,
        "not_found",
    )
