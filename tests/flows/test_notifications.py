"""What learners are told, how they choose, and what a mail provider says later."""

from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.notifications.reporting import make_report, signed

from .shop import Shop, Visitor, eventually
from .test_bad_input import problem

pytestmark = pytest.mark.flow

_KINDS = ["fcm", "fcm", "web_push"]


def enroll(learner: Visitor, number: int) -> None:
    """Enrol in one of the free courses, and wait for the note that says so."""
    course = [course for course in learner.shop.courses() if course["price"]["amount_minor"] == 0][number]
    assert learner.post(f"/v1/courses/{course['id']}/enrollments", {}).status_code == 201
    eventually(lambda: learner.notes().count("ENROLLMENT_CREATED") == number + 1)


def mail_of(learner: Visitor, subject: str) -> dict[str, Any]:
    mails = eventually(
        lambda: [
            mail for mail in learner.shop.platform.mails(learner.person.email) if mail["subject"].startswith(subject)
        ]
    )
    return dict(mails[0])


def admin(shop: Shop) -> Visitor:
    return Visitor(shop, shop.platform.person("admin@demo.test"))


def told(shop: Shop, learner: Visitor, channel: str, category: str) -> list[tuple[str, str]]:
    """What became of the deliveries of a category, oldest first."""
    query = f"user_id={learner.profile()['id']}&channel={channel}&category={category}&limit=100"
    items = admin(shop).get(f"/v1/notifications?{query}").json()["items"]
    return [(each["state"], each["reason"]) for each in reversed(items)]


def test_one_click_ends_the_mails_of_a_category_on_a_new_enrollment_too(shop: Shop) -> None:
    learner = shop.learner()
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
    eventually(lambda: told(shop, learner, "email", "courses") == [("sent", None), ("skipped", "preference")])
    chosen = learner.get("/v1/me/notification-preferences").json()["categories"]
    assert chosen["courses"] == {"email": False, "push": True, "in_app": True}


def test_a_bounce_reported_twice_ends_all_mails_to_the_address(shop: Shop) -> None:
    learner = shop.learner()
    learner.profile()
    mail = mail_of(learner, "Welcome to Coursebus")
    report = make_report("bounced", learner.person.email or "", message_id=mail["headers"]["Message-ID"])
    headers = signed(report)
    url = f"{shop.platform.url}/v1/webhooks/email"
    for _ in range(2):
        taken = requests.post(url, report, headers={**headers, "Content-Type": "application/json"}, timeout=10)
        assert (taken.status_code, taken.json()) == (200, {"received": True})
    assert told(shop, learner, "email", "account") == [("bounced", "permanent")]

    enroll(learner, 0)
    eventually(lambda: told(shop, learner, "email", "courses") == [("suppressed", "bounced")])


def test_a_push_reaches_an_app_and_a_browser_though_another_device_is_gone(shop: Shop) -> None:
    learner = shop.learner()
    learner.profile()
    push_service = f"http://127.0.0.1:{shop.platform.stack.port('push')}"
    made = [requests.post(f"{push_service}/__devices", json={"kind": kind}, timeout=10).json() for kind in _KINDS]
    for kind, device in zip(_KINDS, made, strict=True):
        given = {name: device[name] for name in ("token", "subscription") if name in device}
        assert learner.post("/v1/me/devices", {"kind": kind, **given}).status_code == 201
    dead, *alive = made
    requests.delete(f"{push_service}/__devices/{dead['id']}", timeout=10)

    enroll(learner, 0)
    for device in alive:
        url = f"{push_service}/__devices/{device['id']}/messages"
        eventually(lambda url=url: len(requests.get(url, timeout=10).json()) == 1)
    eventually(lambda: told(shop, learner, "push", "courses") == [("sent", None)])
    left = learner.get("/v1/me/devices").json()["items"]
    assert [device["kind"] for device in left] == _KINDS[1:]
    gone = learner.person.send("DELETE", f"/v1/me/devices/{left[0]['id']}")
    assert gone.status_code == 204
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
def test_a_device_that_is_none_is_refused(shop: Shop, device: dict[str, Any], pointer: str) -> None:
    refused = shop.learner().post("/v1/me/devices", device)
    assert refused.status_code == 422
    assert pointer in [fault["pointer"] for fault in refused.json()["errors"]]


def test_what_nobody_signed_is_refused(shop: Shop) -> None:
    report = make_report("bounced", "ann@example.com")
    url = f"{shop.platform.url}/v1/webhooks/email"
    assert problem(requests.post(url, report, timeout=10)) == (400, "signature_invalid")
    forged = requests.post(url, report + b" ", headers=signed(report), timeout=10)
    assert problem(forged) == (400, "signature_invalid")
    for method in (requests.get, requests.post):
        link = method(f"{shop.platform.url}/v1/unsubscribe/{'A' * 60}", timeout=10)
        assert problem(link) == (404, "unsubscribe_link_invalid")


def test_the_history_is_for_admins(shop: Shop) -> None:
    assert problem(shop.learner().get("/v1/notifications")) == (403, "permission_missing")
    assert problem(shop.learner().post(f"/v1/notifications/{uuid4()}/replay")) == (403, "permission_missing")
    assert problem(admin(shop).post(f"/v1/notifications/{uuid4()}/replay")) == (404, "not_found")
    assert problem(admin(shop).get("/v1/notifications?state=lost"))[0] == 422
