import subprocess
import sys
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.orm import Session

import settings
from core.db import new_id
from models.commands.notifications import WebPushSubscription
from models.errors import NotFound, PushServiceNotAllowed, TooManyDevices
from models.notifications import Device, Preferences, QuietHours
from tests.integration.notifications.factories import choose, course_completed, make_contact
from workers.notifications.channels.push import MAX_PUSH_ATTEMPTS, PushResult
from workers.notifications.delivery import backoff
from workers.notifications.devices import MAX_DEVICES, list_devices, register_device, remove_device
from workers.notifications.event_handlers import send_course_completed

KINDS = ["fcm", "web_push"]
KEYS = {"p256dh": "B" + "A" * 86, "auth": "A" * 22}


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session)


def register(session, user_id: UUID, device: dict) -> dict:
    if "token" in device:
        return register_device(session, user_id=user_id, token=device["token"])
    subscription = device["subscription"]
    return register_device(
        session,
        user_id=user_id,
        subscription=WebPushSubscription(endpoint=subscription["endpoint"], keys=subscription["keys"]),
    )


@pytest.fixture
def register_devices(session, ann, push_service):
    """Return ``register_devices("fcm", …)``, which registers one device of each kind for Ann."""

    def register_devices(*kinds: str) -> list[dict]:
        devices = [push_service.make_device(kind) for kind in kinds]
        for device in devices:
            register(session, ann, device)
        return devices

    return register_devices


def queue_push(harness, user_id: UUID) -> UUID:
    """Queue a due push message to a user; returns the delivery's id."""
    harness.handle(send_course_completed, course_completed(user_id))
    [delivery_id] = [
        message["delivery_id"] for task, message in harness.enqueued if task == "notifications.deliver_push"
    ]
    harness.enqueued.clear()
    return delivery_id


def test_push_message_matches_inbox_notification(harness, ann, register_devices, push_service):
    app, browser = register_devices("fcm", "web_push")
    delivery_id = queue_push(harness, ann)
    harness.push(delivery_id)

    [note] = harness.inbox(ann)
    [by_fcm], [by_web_push] = push_service.delivered_messages(app), push_service.delivered_messages(browser)
    assert by_fcm["notification"] == {"title": note["title"], "body": note["body"]}
    assert by_fcm["data"]["event"] == "COURSE_COMPLETED"
    assert (by_web_push["title"], by_web_push["body"]) == (note["title"], note["body"])
    assert by_web_push["topic"] == by_fcm["android"]["notification"]["tag"] == delivery_id.hex
    assert harness.state_of(delivery_id) == ("sent", None)
    assert harness.published_events() == [("NOTIFICATION_SENT", 1)]


def test_repeated_push_task_sends_once(harness, ann, register_devices, push_service):
    [app] = register_devices("fcm")
    delivery_id = queue_push(harness, ann)
    for _ in range(2):
        harness.push(delivery_id)

    assert len(push_service.delivered_messages(app)) == 1
    assert harness.published_events() == [("NOTIFICATION_SENT", 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_unregistered_device_is_removed_and_others_get_push(harness, ann, register_devices, push_service, kind):
    dead, app, browser = register_devices(kind, "fcm", "web_push")
    push_service.unregister(dead)
    delivery_id = queue_push(harness, ann)
    harness.push(delivery_id)

    assert [len(push_service.delivered_messages(device)) for device in (app, browser)] == [1, 1]
    assert [device.kind for device in Device.list_for_user(harness.session, ann)] == ["fcm", "web_push"]
    assert harness.state_of(delivery_id) == ("sent", None)


@pytest.mark.parametrize("kind", KINDS)
def test_push_fails_when_last_device_is_unregistered(harness, ann, register_devices, push_service, kind):
    [dead] = register_devices(kind)
    push_service.unregister(dead)
    delivery_id = queue_push(harness, ann)
    harness.push(delivery_id)

    assert harness.state_of(delivery_id) == ("failed", "unregistered")
    assert harness.published_events() == [("NOTIFICATION_FAILED", 1)]


def test_push_retry_skips_devices_already_reached(harness, ann, register_devices, push_service, clock):
    browser, app = register_devices("web_push", "fcm")
    push_service.faults(error_500=1)
    failed = {"to": "web_push", "call": "send", "outcome": "unavailable"}
    before = REGISTRY.get_sample_value("coursebus_external_call_seconds_count", failed) or 0
    delivery_id = queue_push(harness, ann)
    harness.push(delivery_id)
    assert harness.state_of(delivery_id) == ("queued", "not_accepted")
    assert [len(push_service.delivered_messages(device)) for device in (browser, app)] == [0, 1]
    assert REGISTRY.get_sample_value("coursebus_external_call_seconds_count", failed) == before + 1

    clock.advance(backoff(1) * 2)
    harness.push(delivery_id)
    assert harness.state_of(delivery_id) == ("sent", None)
    assert [len(push_service.delivered_messages(device)) for device in (browser, app)] == [1, 1]


def test_push_fails_after_max_attempts(harness, ann, register_devices, clock):
    register_devices("fcm")
    delivery_id = queue_push(harness, ann)
    for attempt in range(MAX_PUSH_ATTEMPTS):
        harness.push(delivery_id, lambda _device, _message: PushResult.RETRY)
        clock.advance(backoff(attempt + 1) * 2)

    assert harness.state_of(delivery_id) == ("failed", "not_accepted")


def test_push_respects_preferences_and_quiet_hours(harness, ann, register_devices, push_service):
    [app] = register_devices("fcm")
    choose(harness.preference_store, ann, Preferences(quiet_hours=QuietHours("00:00", "23:59")))
    delayed = queue_push(harness, ann)
    harness.push(delayed)
    harness.preference_store.turn_off(ann, "progress", "push")
    skipped = queue_push(harness, ann)
    harness.push(skipped)

    assert (harness.state_of(delayed), harness.state_of(skipped)) == (
        ("held", "quiet_hours"),
        ("skipped", "preference"),
    )
    assert push_service.delivered_messages(app) == []


def test_user_without_device_gets_no_push(harness, ann):
    harness.handle(send_course_completed, course_completed(ann))

    assert harness.enqueued == []


@pytest.mark.parametrize("kind", KINDS)
def test_reregistered_device_moves_to_latest_user(session, ann, push_service, kind):
    device, bob = push_service.make_device(kind), make_contact(session)
    first = register(session, ann, device)
    assert register(session, ann, device) == first
    assert register(session, bob, device)["id"] == first["id"]

    assert list_devices(session, user_id=ann, after=None, limit=20)["items"] == []
    assert list_devices(session, user_id=bob, after=None, limit=20)["items"] == [first]


def test_device_is_removed_by_owner_only(session, ann):
    device = register(session, ann, {"token": "some"})
    with pytest.raises(NotFound):
        remove_device(session, user_id=make_contact(session), device_id=device["id"])
    remove_device(session, user_id=ann, device_id=device["id"])
    with pytest.raises(NotFound):
        remove_device(session, user_id=ann, device_id=new_id())

    assert Device.list_for_user(session, ann) == []


def test_device_count_per_user_is_limited(session, ann):
    for number in range(MAX_DEVICES):
        register(session, ann, {"token": str(number)})
    register(session, ann, {"token": "0"})
    with pytest.raises(TooManyDevices):
        register(session, ann, {"token": "one more"})


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://push.example.com/1",
        "http://fcm.googleapis.com/1",
        "https://evilfcm.googleapis.com.example.com/1",
        "https://notfcm.googleapis.com:8443/1",
        "https://fcm.googleapis.com:8443/1",
        "https://fcm.googleapis.com@10.0.0.1/1",
        "http://169.254.169.254/latest",
        "https://[::1/",
        "nowhere",
    ],
)
def test_unknown_push_service_is_rejected(session, ann, endpoint: str):
    with pytest.raises(PushServiceNotAllowed):
        register_device(session, user_id=ann, subscription=WebPushSubscription(endpoint=endpoint, keys=KEYS))


@pytest.mark.parametrize("host", ["fcm.googleapis.com", "web.push.apple.com", "db5p.notify.windows.com"])
def test_browser_push_services_are_accepted(session, ann, host: str):
    subscription = WebPushSubscription(endpoint=f"https://{host}/1", keys=KEYS)

    assert register_device(session, user_id=ann, subscription=subscription)["kind"] == "web_push"


def test_push_libraries_are_loaded_lazily():
    program = "import sys, workers.notifications; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=settings.ROOT, check=True, capture_output=True, text=True
    )

    assert not {"google.auth", "pywebpush", "aiohttp"} & set(loaded.stdout.split())
