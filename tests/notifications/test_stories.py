"""From an event on the queue to the feed over HTTP, through the workers' own delivery."""

import time
from collections.abc import Iterator
from uuid import UUID

import msgspec
import pytest

import celery_app
from models.base import new_id
from models.events import Event
from models.redis import queue_redis
from tests.gateway import Person, gateway, running_worker, trust_test_tokens
from tests.notifications.factories import lesson_completed, make_person, user_created


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    with running_worker("users", "notifications"):
        yield


@pytest.fixture
def ann(monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    return Person(gateway().test_client(), email=f"{new_id().hex}@example.com")


@pytest.fixture
def ann_id(ann: Person) -> UUID:
    return UUID(ann.get("/v1/me").json["id"])


def deliver(handler: str, event: Event, event_id: UUID) -> dict:
    """Send an event as the bridge does; returns the handler's reply."""
    reply_to = f"reply:{new_id()}"
    envelope = celery_app.Envelope(event_id=str(event_id), reply_to=reply_to)
    celery_app.send(handler, {"event": msgspec.to_builtins(event)}, envelope)
    _, reply = queue_redis().blpop([reply_to], timeout=5)
    return msgspec.json.decode(reply)


def welcome(person: Person, user_id: UUID, event_id: UUID) -> dict:
    event = user_created(user_id, sub=person.sub, pii=make_person(email=person.email))
    return deliver("notifications.welcome_user", event, event_id)


def mails_to(mail_server, address: str, *, seconds: float = 3) -> list[dict]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := [mail for mail in mail_server.mails if mail["to"] == [address]]:
            return found
        time.sleep(0.05)
    return []


def test_an_event_delivered_twice_through_the_queue_is_told_once(ann, ann_id, mail_server):
    event_id = new_id()
    assert "error" not in welcome(ann, ann_id, event_id)
    assert welcome(ann, ann_id, event_id)["replayed"]

    assert len(mails_to(mail_server, ann.email)) == 1
    assert ann.get("/v1/me/notifications/unread-count").json == {"unread": 1}


def test_a_feed_is_read_page_by_page(ann, ann_id, mail_server):
    welcome(ann, ann_id, new_id())
    mails_to(mail_server, ann.email)
    for lesson in ("one", "two"):
        deliver("notifications.congratulate_on_lesson", lesson_completed(ann_id, lesson_title=lesson), new_id())

    first = ann.get("/v1/me/notifications?limit=2")
    second = ann.get(f"/v1/me/notifications?limit=2&cursor={first.json['next_cursor']}")
    assert [note["title"] for note in first.json["items"]] == ["Lesson complete: two", "Lesson complete: one"]
    assert 'rel="next"' in first.headers["Link"]
    assert [note["title"] for note in second.json["items"]] == ["Welcome to Coursebus"]
    assert second.json["next_cursor"] is None


def test_a_note_is_read_archived_and_gone(ann, ann_id):
    welcome(ann, ann_id, new_id())
    [note] = ann.get("/v1/me/notifications?unread=true").json["items"]
    read = ann.send("POST", f"/v1/me/notifications/{note['id']}/read")
    archived = ann.send("POST", f"/v1/me/notifications/{note['id']}/archive")

    assert read.json.keys() == {
        *("id", "category", "title", "body", "data", "created_at", "seen_at", "read_at", "archived_at")
    }
    assert read.json["read_at"]
    assert archived.json["archived_at"]
    assert ann.get("/v1/me/notifications").json == {"items": [], "next_cursor": None}
    assert ann.send("POST", "/v1/me/notifications/read-all").json == {"unread": 0}


def test_another_users_note_is_a_404(ann, ann_id):
    welcome(ann, ann_id, new_id())
    [note] = ann.get("/v1/me/notifications").json["items"]
    bob = Person(ann.client)

    response = bob.send("POST", f"/v1/me/notifications/{note['id']}/read")
    assert (response.status_code, response.json["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("query", "status"), [("?limit=0", 422), ("?limit=101", 422), ("?unread=perhaps", 422), ("?cursor=tampered", 400)]
)
def test_a_query_that_does_not_fit_is_refused(ann, query: str, status: int):
    assert ann.get(f"/v1/me/notifications{query}").status_code == status


@pytest.mark.parametrize("path", ["", "/unread-count"])
def test_a_feed_is_for_signed_in_users(ann, path: str):
    assert ann.client.get(f"/v1/me/notifications{path}").status_code == 401


def test_preferences_come_back_as_they_were_put(ann):
    wanted = {
        "categories": {"courses": {"email": False}},
        "quiet_hours": {"from": "22:00", "to": "08:00"},
        "digest": "off",
    }
    put = change_preferences(ann, wanted)
    assert put.status_code == 200
    assert put.json["categories"]["courses"] == {"email": False, "push": True, "in_app": True}
    assert put.json == ann.get(PREFERENCES).json
    assert put.json == change_preferences(ann, put.json).json

    assert change_preferences(ann, {"categories": {}}).json["quiet_hours"] is None


PREFERENCES = "/v1/me/notification-preferences"


def change_preferences(ann, wanted: dict):
    return ann.send("PUT", PREFERENCES, wanted, If_Match=ann.get(PREFERENCES).headers["ETag"])


def test_preferences_that_have_changed_since_are_not_overwritten(ann):
    seen = ann.get(PREFERENCES).headers["ETag"]
    assert change_preferences(ann, {"categories": {"courses": {"email": False}}}).status_code == 200

    late = ann.send("PUT", PREFERENCES, {"categories": {}}, If_Match=seen)

    assert (late.status_code, late.json["code"]) == (412, "precondition_failed")
    assert ann.get(PREFERENCES).json["categories"]["courses"]["email"] is False
    assert ann.send("PUT", PREFERENCES, {"categories": {}}).status_code == 428


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({}, "/categories"),
        ({"categories": {"weather": {}}}, "/categories/weather"),
        ({"categories": {"courses": {"email": "no"}}}, "/categories/courses/email"),
        ({"categories": {"courses": {"pigeon": True}}}, "/categories/courses/pigeon"),
        ({"categories": {}, "quiet_hours": {"from": "22:00"}}, "/quiet_hours/to"),
        ({"categories": {}, "quiet_hours": {"from": "24:00", "to": "08:00"}}, "/quiet_hours/from"),
        ({"categories": {}, "quiet_hours": {"from": "08:00", "to": "08:00"}}, "/quiet_hours/to"),
        ({"categories": {}, "digest": "hourly"}, "/digest"),
    ],
)
def test_preferences_that_do_not_fit_are_refused(ann, wanted: dict, pointer: str):
    refused = change_preferences(ann, wanted)
    assert (refused.status_code, [fault["pointer"] for fault in refused.json["errors"]]) == (422, [pointer])
