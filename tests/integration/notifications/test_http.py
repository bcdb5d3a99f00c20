"""From an event in the queue to the inbox over HTTP, through the worker's own delivery."""

import time
from collections.abc import Iterator
from uuid import UUID

import msgspec
import pytest

from core.db import new_id
from core.messaging import task_queue
from core.redis import queue_redis
from models.events import Event
from stream.inbox_reader import InboxReader
from tests.integration.notifications.factories import lesson_completed, make_person, user_created
from tests.support.gateway import Person, gateway, running_worker, trust_test_tokens
from tests.support.polling import eventually
from workers.notifications import dispatcher


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
    envelope = task_queue.Envelope(event_id=str(event_id), event_headers={}, reply_to=reply_to)
    task_queue.enqueue(handler, {"event": msgspec.to_builtins(event)}, envelope)
    _, reply = queue_redis().blpop([reply_to], timeout=5)
    return msgspec.json.decode(reply)


def deliver_user_created(person: Person, user_id: UUID, event_id: UUID) -> dict:
    event = user_created(user_id, sub=person.sub, pii=make_person(email=person.email))
    return deliver("notifications.send_welcome", event, event_id)


def wait_for_mails(mail_server, address: str, *, seconds: float = 3) -> list[dict]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := [mail for mail in mail_server.mails if mail["to"] == [address]]:
            return found
        time.sleep(0.05)
    return []


def test_redelivered_event_through_queue_notifies_once(ann, ann_id, mail_server):
    event_id = new_id()
    assert "error" not in deliver_user_created(ann, ann_id, event_id)
    assert deliver_user_created(ann, ann_id, event_id)["replayed"]

    assert len(wait_for_mails(mail_server, ann.email)) == 1
    assert ann.get("/v1/me/notifications/unread-count").json == {"unread": 1}


def test_mail_has_message_of_its_own_only_if_many_wait_or_mails_are_slow(ann, ann_id, mail_server, monkeypatch):
    enqueued, enqueue = list[str](), task_queue.enqueue
    monkeypatch.setattr(task_queue, "enqueue", lambda task, *args: (enqueued.append(task), enqueue(task, *args)))
    monkeypatch.setattr(dispatcher, "SLOW_SECONDS", 0)

    def messages_of_two_mails(max_waiting: int) -> int:
        monkeypatch.setattr(dispatcher, "local_delivery", dispatcher.LocalDelivery(threads=1))
        monkeypatch.setattr(dispatcher, "MAX_WAITING", max_waiting)
        enqueued.clear()
        for _ in range(2):
            deliver_user_created(ann, ann_id, new_id())
            sent.append(None)
            eventually(lambda: len(wait_for_mails(mail_server, ann.email)) == len(sent))
        return enqueued.count("notifications.deliver_email")

    sent: list[None] = []
    assert [messages_of_two_mails(max_waiting) for max_waiting in (1, 0)] == [1, 2]


def test_inbox_is_paged(ann, ann_id, mail_server):
    deliver_user_created(ann, ann_id, new_id())
    wait_for_mails(mail_server, ann.email)
    for lesson in ("one", "two"):
        deliver("notifications.send_lesson_completed", lesson_completed(ann_id, lesson_title=lesson), new_id())

    first = ann.get("/v1/me/notifications?limit=2")
    second = ann.get(f"/v1/me/notifications?limit=2&cursor={first.json['next_cursor']}")
    assert [note["title"] for note in first.json["items"]] == ["Lesson complete: two", "Lesson complete: one"]
    assert 'rel="next"' in first.headers["Link"]
    assert [note["title"] for note in second.json["items"]] == ["Welcome to Coursebus"]
    assert second.json["next_cursor"] is None


def test_notification_is_read_and_archived(ann, ann_id):
    deliver_user_created(ann, ann_id, new_id())
    [note] = ann.get("/v1/me/notifications?unread=true").json["items"]
    read = ann.send("POST", f"/v1/me/notifications/{note['id']}/read")
    reader = InboxReader()  # of the stream
    assert [str(each["id"]) for _, each in reader.list_after(ann_id, 0)] == [note["id"]]
    archived = ann.send("POST", f"/v1/me/notifications/{note['id']}/archive")

    assert read.json.keys() == {
        *("id", "category", "title", "body", "data", "created_at", "seen_at", "read_at", "archived_at")
    }
    assert read.json["read_at"]
    assert archived.json["archived_at"]
    assert ann.get("/v1/me/notifications").json == {"items": [], "next_cursor": None}
    assert reader.list_after(ann_id, 0) == []
    assert ann.send("POST", "/v1/me/notifications/read-all").json == {"unread": 0}
    reader.close()


def test_notification_of_another_user_returns_404(ann, ann_id):
    deliver_user_created(ann, ann_id, new_id())
    [note] = ann.get("/v1/me/notifications").json["items"]
    bob = Person(ann.client)

    response = bob.send("POST", f"/v1/me/notifications/{note['id']}/read")
    assert (response.status_code, response.json["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("query", "status"), [("?limit=0", 422), ("?limit=101", 422), ("?unread=perhaps", 422), ("?cursor=tampered", 400)]
)
def test_invalid_query_is_rejected(ann, query: str, status: int):
    assert ann.get(f"/v1/me/notifications{query}").status_code == status


@pytest.mark.parametrize("path", ["", "/unread-count"])
def test_inbox_requires_authentication(ann, path: str):
    assert ann.client.get(f"/v1/me/notifications{path}").status_code == 401


def test_preferences_roundtrip(ann):
    preferences = {
        "categories": {"courses": {"email": False}},
        "quiet_hours": {"from": "22:00", "to": "08:00"},
        "digest": "off",
    }
    put = change_preferences(ann, preferences)
    assert put.status_code == 200
    assert put.json["categories"]["courses"] == {"email": False, "push": True, "in_app": True}
    assert put.json == ann.get(PREFERENCES_PATH).json
    again = change_preferences(ann, {name: put.json[name] for name in preferences})
    assert again.json == put.json | {"version": put.json["version"] + 1}

    assert change_preferences(ann, {"categories": {}}).json["quiet_hours"] is None


PREFERENCES_PATH = "/v1/me/notification-preferences"


def change_preferences(ann, preferences: dict):
    return ann.send("PUT", PREFERENCES_PATH, preferences, If_Match=ann.get(PREFERENCES_PATH).headers["ETag"])


def test_stale_preferences_update_returns_412(ann):
    etag = ann.get(PREFERENCES_PATH).headers["ETag"]
    assert change_preferences(ann, {"categories": {"courses": {"email": False}}}).status_code == 200

    late = ann.send("PUT", PREFERENCES_PATH, {"categories": {}}, If_Match=etag)

    assert (late.status_code, late.json["code"]) == (412, "precondition_failed")
    assert ann.get(PREFERENCES_PATH).json["categories"]["courses"]["email"] is False
    assert ann.send("PUT", PREFERENCES_PATH, {"categories": {}}).status_code == 428


@pytest.mark.parametrize(
    ("preferences", "pointer"),
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
def test_invalid_preferences_return_422_with_pointer(ann, preferences: dict, pointer: str):
    refused = change_preferences(ann, preferences)
    assert (refused.status_code, [fault["pointer"] for fault in refused.json["errors"]]) == (422, [pointer])
