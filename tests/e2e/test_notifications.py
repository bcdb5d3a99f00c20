"""Notifications, preferences, and reports of the e-mail provider."""

from typing import Any

import pytest
import requests

from tests.integration.notifications.email_events import make_email_event, signature_headers

from .harness import ScenarioHarness, Visitor, eventually

_KINDS = ["fcm", "fcm", "web_push"]


def enroll(learner: Visitor, number: int) -> None:
    """Enrol in one of the free courses, and wait for its notification."""
    course = [course for course in learner.harness.courses() if course["price"]["amount_minor"] == 0][number]
    assert learner.post(f"/v1/courses/{course['id']}/enrollments", {}).status_code == 201
    eventually(lambda: learner.notification_events().count("ENROLLMENT_CREATED") == number + 1)


def mail_of(learner: Visitor, subject: str) -> dict[str, Any]:
    mails = eventually(
        lambda: [
            mail for mail in learner.harness.platform.mails(learner.person.email) if mail["subject"].startswith(subject)
        ]
    )
    return dict(mails[0])


def admin(harness: ScenarioHarness) -> Visitor:
    return Visitor(harness, harness.platform.person("admin@demo.test"))


def delivery_outcomes(harness: ScenarioHarness, learner: Visitor, channel: str, category: str) -> list[tuple[str, str]]:
    """Return state and reason of the deliveries of a category, oldest first."""
    query = f"user_id={learner.profile()['id']}&channel={channel}&category={category}&limit=100"
    items = admin(harness).get(f"/v1/notifications?{query}").json()["items"]
    return [(each["state"], each["reason"]) for each in reversed(items)]


def test_one_click_unsubscribe_stops_mails_of_category(harness: ScenarioHarness) -> None:
    learner = harness.learner()
    learner.profile()
    enroll(learner, 0)
    headers = mail_of(learner, "Welcome to “")["headers"]
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = headers["List-Unsubscribe"].strip("<>")

    page = requests.get(link, timeout=10)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert '<form method="post">' in page.text
    for _ in range(2):
        clicked = requests.post(link, data={"List-Unsubscribe": "One-Click"}, timeout=10)
        assert (clicked.status_code, clicked.json()) == (200, {"category": "courses", "subscribed": False})

    enroll(learner, 1)
    eventually(
        lambda: delivery_outcomes(harness, learner, "email", "courses") == [("sent", None), ("skipped", "preference")]
    )
    chosen = learner.get("/v1/me/notification-preferences").json()["categories"]
    assert chosen["courses"] == {"email": False, "push": True, "in_app": True}


def test_repeated_bounce_suppresses_address(harness: ScenarioHarness) -> None:
    learner = harness.learner()
    learner.profile()
    mail = mail_of(learner, "Welcome to Coursebus")
    report = make_email_event("bounced", learner.person.email or "", message_id=mail["headers"]["Message-ID"])
    headers = signature_headers(report)
    url = f"{harness.platform.url}/v1/webhooks/email"
    for _ in range(2):
        received = requests.post(url, report, headers={**headers, "Content-Type": "application/json"}, timeout=10)
        assert (received.status_code, received.json()) == (200, {"received": True})
    assert delivery_outcomes(harness, learner, "email", "account") == [("bounced", "permanent")]

    enroll(learner, 0)
    eventually(lambda: delivery_outcomes(harness, learner, "email", "courses") == [("suppressed", "bounced")])


def test_push_reaches_remaining_devices(harness: ScenarioHarness) -> None:
    learner = harness.learner()
    learner.profile()
    push_service = f"http://127.0.0.1:{harness.platform.stack.port('push')}"
    devices = [requests.post(f"{push_service}/__devices", json={"kind": kind}, timeout=10).json() for kind in _KINDS]
    for kind, device in zip(_KINDS, devices, strict=True):
        fields = {name: device[name] for name in ("token", "subscription") if name in device}
        body = {"kind": kind, **fields}  # 503 until the contact of the new user has arrived
        eventually(lambda body=body: learner.post("/v1/me/devices", body).status_code == 201)
    dead, *alive = devices
    requests.delete(f"{push_service}/__devices/{dead['id']}", timeout=10)

    enroll(learner, 0)
    for device in alive:
        url = f"{push_service}/__devices/{device['id']}/messages"
        eventually(lambda url=url: len(requests.get(url, timeout=10).json()) == 1)
    eventually(lambda: delivery_outcomes(harness, learner, "push", "courses") == [("sent", None)])
    left = learner.get("/v1/me/devices").json()["items"]
    assert [device["kind"] for device in left] == _KINDS[1:]
    deleted = learner.person.send("DELETE", f"/v1/me/devices/{left[0]['id']}")
    assert deleted.status_code == 204
    assert len(learner.get("/v1/me/devices").json()["items"]) == 1


@pytest.mark.parametrize(
    ("device", "pointer"),
    [
        ({"kind": "pager"}, "/kind"),
        ({"kind": "fcm"}, "/token"),
        ({"kind": "fcm", "token": ""}, "/token"),
        ({"kind": "web_push", "token": "some"}, "/subscription"),
        ({"kind": "web_push", "subscription": {"endpoint": "https://x", "keys": {}}}, "/subscription/keys/auth"),
    ],
    ids=str,
)
def test_invalid_device_is_rejected(harness: ScenarioHarness, device: dict[str, Any], pointer: str) -> None:
    refused = harness.learner().post("/v1/me/devices", device)
    assert refused.status_code == 422
    assert pointer in [fault["pointer"] for fault in refused.json()["errors"]]
