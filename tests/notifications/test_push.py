import subprocess
import sys
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

import settings
from models.base import new_id
from models.errors import NotFound, PushServiceRefused, TooManyDevices
from models.notifications import Device, Preferences, QuietHours
from tests.notifications.factories import choose, course_completed, make_contact
from workers.notifications.delivery import MAX_PUSH_ATTEMPTS, wait_after
from workers.notifications.devices import MAX_DEVICES, Subscription, list_devices, register_device, remove_device
from workers.notifications.messages import congratulate_on_course
from workers.notifications.push import Answer

KINDS = ["fcm", "web_push"]
KEYS = {"p256dh": "B" + "A" * 86, "auth": "A" * 22}


@pytest.fixture
def ann(session: Session) -> UUID:
    return make_contact(session)


def register(session, user_id: UUID, device: dict) -> dict:
    if "token" in device:
        return register_device(session, user_id=user_id, token=device["token"])
    given = device["subscription"]
    return register_device(
        session, user_id=user_id, subscription=Subscription(endpoint=given["endpoint"], keys=given["keys"])
    )


@pytest.fixture
def signed_in(session, ann, push_service):
    """``signed_in("fcm", …)``: Ann's devices, one of each kind that is named."""

    def signed_in(*kinds: str) -> list[dict]:
        devices = [push_service.make_device(kind) for kind in kinds]
        for device in devices:
            register(session, ann, device)
        return devices

    return signed_in


def queued(post, user_id: UUID) -> UUID:
    """A push message to a user that is due: its delivery's id."""
    post.handle(congratulate_on_course, course_completed(user_id))
    [delivery_id] = [message["delivery_id"] for task, message in post.pokes if task == "notifications.deliver_push"]
    post.pokes.clear()
    return delivery_id


def test_apps_and_browsers_are_shown_what_the_feed_says(post, ann, signed_in, push_service):
    app, browser = signed_in("fcm", "web_push")
    delivery_id = queued(post, ann)
    post.push(delivery_id)

    [note] = post.feed(ann)
    [by_fcm], [by_web_push] = push_service.shown(app), push_service.shown(browser)
    assert by_fcm["notification"] == {"title": note["title"], "body": note["body"]}
    assert by_fcm["data"]["event"] == "COURSE_COMPLETED"
    assert (by_web_push["title"], by_web_push["body"]) == (note["title"], note["body"])
    assert by_web_push["topic"] == by_fcm["android"]["notification"]["tag"] == delivery_id.hex
    assert post.standing(delivery_id) == ("sent", None)
    assert post.told() == [("NOTIFICATION_SENT", 1)]


def test_a_message_started_twice_is_sent_once(post, ann, signed_in, push_service):
    [app] = signed_in("fcm")
    delivery_id = queued(post, ann)
    for _ in range(2):
        post.push(delivery_id)

    assert len(push_service.shown(app)) == 1
    assert post.told() == [("NOTIFICATION_SENT", 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_that_is_gone_is_forgotten_and_stops_no_other(post, ann, signed_in, push_service, kind):
    dead, app, browser = signed_in(kind, "fcm", "web_push")
    push_service.throw_away(dead)
    delivery_id = queued(post, ann)
    post.push(delivery_id)

    assert [len(push_service.shown(device)) for device in (app, browser)] == [1, 1]
    assert [device.kind for device in Device.of(post.session, ann)] == ["fcm", "web_push"]
    assert post.standing(delivery_id) == ("sent", None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_device_that_is_gone_ends_the_message(post, ann, signed_in, push_service, kind):
    [dead] = signed_in(kind)
    push_service.throw_away(dead)
    delivery_id = queued(post, ann)
    post.push(delivery_id)

    assert post.standing(delivery_id) == ("failed", "unregistered")
    assert post.told() == [("NOTIFICATION_FAILED", 1)]


def test_a_service_that_is_away_is_asked_again_and_nobody_is_told_twice(post, ann, signed_in, push_service, clock):
    browser, app = signed_in("web_push", "fcm")
    push_service.faults(error_500=1)
    delivery_id = queued(post, ann)
    post.push(delivery_id)
    assert post.standing(delivery_id) == ("queued", "not_taken")
    assert [len(push_service.shown(device)) for device in (browser, app)] == [0, 1]

    clock.advance(wait_after(1) * 2)
    post.push(delivery_id)
    assert post.standing(delivery_id) == ("sent", None)
    assert [len(push_service.shown(device)) for device in (browser, app)] == [1, 1]


def test_a_service_that_stays_away_is_given_up(post, ann, signed_in, clock):
    signed_in("fcm")
    delivery_id = queued(post, ann)
    for attempt in range(MAX_PUSH_ATTEMPTS):
        post.push(delivery_id, lambda _device, _message: Answer.LATER)
        clock.advance(wait_after(attempt + 1) * 2)

    assert post.standing(delivery_id) == ("failed", "not_taken")


def test_a_push_asks_preferences_and_keeps_quiet_hours(post, ann, signed_in, push_service):
    [app] = signed_in("fcm")
    choose(post.choices, ann, Preferences(quiet_hours=QuietHours("00:00", "23:59")))
    held = queued(post, ann)
    post.push(held)
    post.choices.turn_off(ann, "progress", "push")
    skipped = queued(post, ann)
    post.push(skipped)

    assert (post.standing(held), post.standing(skipped)) == (("held", "quiet_hours"), ("skipped", "preference"))
    assert push_service.shown(app) == []


def test_who_has_no_device_is_not_pushed_to(post, ann):
    post.handle(congratulate_on_course, course_completed(ann))

    assert post.pokes == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_registered_twice_is_one_and_goes_to_who_signed_in_last(session, ann, push_service, kind):
    device, bob = push_service.make_device(kind), make_contact(session)
    first = register(session, ann, device)
    assert register(session, ann, device) == first
    assert register(session, bob, device)["id"] == first["id"]

    assert list_devices(session, user_id=ann, after=None, limit=20)["items"] == []
    assert list_devices(session, user_id=bob, after=None, limit=20)["items"] == [first]


def test_a_device_is_removed_by_its_owner_alone(session, ann):
    device = register(session, ann, {"token": "some"})
    with pytest.raises(NotFound):
        remove_device(session, user_id=make_contact(session), device_id=device["id"])
    remove_device(session, user_id=ann, device_id=device["id"])
    with pytest.raises(NotFound):
        remove_device(session, user_id=ann, device_id=new_id())

    assert Device.of(session, ann) == []


def test_devices_are_as_many_as_can_be_called_in_time(session, ann):
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
def test_nothing_but_a_push_service_is_posted_to(session, ann, endpoint: str):
    with pytest.raises(PushServiceRefused):
        register_device(session, user_id=ann, subscription=Subscription(endpoint=endpoint, keys=KEYS))


@pytest.mark.parametrize("host", ["fcm.googleapis.com", "web.push.apple.com", "db5p.notify.windows.com"])
def test_the_push_services_of_browsers_are_known(session, ann, host: str):
    subscription = Subscription(endpoint=f"https://{host}/1", keys=KEYS)

    assert register_device(session, user_id=ann, subscription=subscription)["kind"] == "web_push"


def test_a_worker_that_has_not_pushed_has_loaded_no_library_for_it():
    program = "import sys, workers.notifications; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=settings.ROOT, check=True, capture_output=True, text=True
    )

    assert not {"firebase_admin", "pywebpush", "aiohttp", "grpc"} & set(loaded.stdout.split())
