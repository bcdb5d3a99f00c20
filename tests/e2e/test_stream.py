"""The stream of notifications: live, resumable, and for many listeners."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import pytest
import requests

from .harness import ScenarioHarness, Visitor, eventually, problem

PATH = "/v1/me/notifications/stream"


@contextmanager
def open_stream(learner: Visitor, **headers: str) -> Iterator["Listener"]:
    port = learner.harness.platform.stack.port("stream")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, connection.makefile("rb") as answer:
        sent = {"Host": "stream", "Authorization": f"Bearer {learner.person.token}", **headers}
        lines = [f"GET {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode())
        assert answer.readline().split()[1] == b"200"
        while answer.readline().strip():
            pass  # headers
        listener = Listener(answer)
        assert listener.line() == "retry: 2000"  # the listener is subscribed from this line on
        yield listener


class Listener:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def line(self) -> str:
        """Return the next event or comment: one chunk, framed by its length."""
        size = int(self._answer.readline(), 16)
        return str(self._answer.read(size + 2).decode().strip())

    def has_ended(self) -> bool:
        """Return whether the response has ended (the chunk of length zero)."""
        return int(self._answer.readline(), 16) == 0

    def next_notification(self) -> tuple[str, dict[str, Any]]:
        """Return the next notification and the id of its event."""
        fields = dict(line.split(": ", 1) for line in self.line().splitlines())
        assert fields["event"] == "notification"
        return fields["id"], json.loads(fields["data"])


def enroll(learner: Visitor, number: int) -> None:
    course = [course for course in learner.harness.courses() if course["price"]["amount_minor"] == 0][number]
    assert learner.post(f"/v1/courses/{course['id']}/enrollments", {}).status_code == 201


@pytest.fixture
def learner(harness: ScenarioHarness) -> Visitor:
    """A learner whose welcome notification has arrived."""
    learner = harness.learner()
    learner.profile()
    eventually(lambda: learner.notification_events() == ["USER_CREATED"])
    return learner


def test_notification_is_streamed_to_its_user_only(harness: ScenarioHarness, learner: Visitor) -> None:
    other = harness.learner()
    other.profile()
    with open_stream(learner) as listener, open_stream(other) as other_listener:
        enroll(learner, 0)
        _, note = listener.next_notification()
        [newest, _] = learner.get("/v1/me/notifications").json()["items"]
        assert note == newest
        enroll(other, 1)
        while (received := other_listener.next_notification()[1])["category"] == "account":
            pass  # the welcome notification may still arrive
        assert received["id"] != note["id"]


def test_stream_resumes_after_last_event_id(learner: Visitor) -> None:
    with open_stream(learner) as first:
        enroll(learner, 0)
        last_event_id, _ = first.next_notification()
    enroll(learner, 1)
    eventually(lambda: learner.notification_events().count("ENROLLMENT_CREATED") == 2)

    with open_stream(learner, **{"Last-Event-ID": last_event_id}) as second:
        _, note = second.next_notification()
        [newest, *_] = learner.get("/v1/me/notifications").json()["items"]
        assert note == newest
        enroll(learner, 2)
        assert second.next_notification()[1]["id"] != note["id"]


def test_stream_from_start_is_complete_and_ordered(learner: Visitor) -> None:
    enroll(learner, 0)
    eventually(lambda: len(learner.notification_events()) == 2)
    with open_stream(learner, **{"Last-Event-ID": "0"}) as listener:
        assert [listener.next_notification()[1]["category"] for _ in range(2)] == ["account", "courses"]


def test_all_streams_of_a_user_receive_same_notification(harness: ScenarioHarness, learner: Visitor) -> None:
    crowd = [harness.learner() for _ in range(10)]
    for each in crowd:
        each.get("/v1/me")
    with ExitStack() as stack:
        for each in crowd:
            for _ in range(20):
                stack.enter_context(open_stream(each))
        listeners = [stack.enter_context(open_stream(learner)) for _ in range(8)]
        enroll(learner, 0)
        assert len({listener.next_notification()[1]["id"] for listener in listeners}) == 1


def test_stream_survives_cache_restart(harness: ScenarioHarness, learner: Visitor) -> None:
    with open_stream(learner) as listener:
        pid = harness.platform.kill("cache")
        harness.platform.wait_for_restart("cache", pid)
        enroll(learner, 0)
        assert listener.next_notification()[1]["category"] == "courses"


def test_stream_requires_token_and_valid_event_id(harness: ScenarioHarness, learner: Visitor) -> None:
    url = f"http://127.0.0.1:{harness.platform.stack.port('stream')}{PATH}"
    assert problem(requests.get(url, timeout=10)) == (401, "token_missing")
    token = {"Authorization": f"Bearer {learner.person.token}"}
    for invalid in ("x", "-1", "9" * 30, "1.5"):
        refused = requests.get(url, headers={**token, "Last-Event-ID": invalid}, timeout=10)
        assert problem(refused) == (400, "last_event_id_invalid")
    unknown = requests.get(f"{url}?from={uuid4()}", headers=token, timeout=10)
    assert problem(unknown)[0] == 422


def test_streams_per_user_are_limited(learner: Visitor) -> None:
    with ExitStack() as stack:
        oldest, *_ = [stack.enter_context(open_stream(learner)) for _ in range(21)]
        assert oldest.has_ended()


def test_gateway_redirects_to_stream(learner: Visitor) -> None:
    answer = requests.get(
        f"{learner.harness.platform.url}{PATH}",
        headers={"Authorization": f"Bearer {learner.person.token}"},
        allow_redirects=False,
        timeout=10,
    )
    assert answer.status_code == 307
    assert answer.headers["Location"].endswith(f":{learner.harness.platform.stack.port('stream')}{PATH}")
