"""The stream of notifications: live, from where one was, and many at once."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import pytest
import requests

from .shop import Shop, Visitor, eventually
from .test_bad_input import problem

pytestmark = pytest.mark.flow

PATH = "/v1/me/notifications/stream"


@contextmanager
def listening(learner: Visitor, **headers: str) -> Iterator["Listener"]:
    port = learner.shop.platform.stack.port("stream")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, connection.makefile("rb") as answer:
        sent = {"Host": "stream", "Authorization": f"Bearer {learner.person.token}", **headers}
        lines = [f"GET {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode())
        assert answer.readline().split()[1] == b"200"
        while answer.readline().strip():
            pass  # headers
        listener = Listener(answer)
        assert listener.line() == "retry: 2000"  # from now on nothing is missed
        yield listener


class Listener:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def line(self) -> str:
        """The next event or comment: a chunk each, framed by its length."""
        size = int(self._answer.readline(), 16)
        return str(self._answer.read(size + 2).decode().strip())

    def has_ended(self) -> bool:
        """Whether nothing more comes: the chunk of no length is there."""
        return int(self._answer.readline(), 16) == 0

    def note(self) -> tuple[str, dict[str, Any]]:
        """The next note, and the id of its event."""
        fields = dict(line.split(": ", 1) for line in self.line().splitlines())
        assert fields["event"] == "notification"
        return fields["id"], json.loads(fields["data"])


def enroll(learner: Visitor, number: int) -> None:
    course = [course for course in learner.shop.courses() if course["price"]["amount_minor"] == 0][number]
    assert learner.post(f"/v1/courses/{course['id']}/enrollments", {}).status_code == 201


@pytest.fixture
def learner(shop: Shop) -> Visitor:
    """Somebody who was welcomed."""
    learner = shop.learner()
    learner.profile()
    eventually(lambda: learner.notes() == ["USER_CREATED"])
    return learner


def test_a_note_comes_as_it_is_in_the_feed_and_to_nobody_else(shop: Shop, learner: Visitor) -> None:
    other = shop.learner()
    other.profile()
    with listening(learner) as mine, listening(other) as others:
        enroll(learner, 0)
        _, note = mine.note()
        [newest, _] = learner.get("/v1/me/notifications").json()["items"]
        assert note == newest
        enroll(other, 1)
        while (told := others.note()[1])["category"] == "account":
            pass  # the welcome may still have been on its way
        assert told["id"] != note["id"]


def test_a_listener_goes_on_from_where_it_was(learner: Visitor) -> None:
    with listening(learner) as first:
        enroll(learner, 0)
        last_event_id, _ = first.note()
    enroll(learner, 1)
    eventually(lambda: learner.notes().count("ENROLLMENT_CREATED") == 2)

    with listening(learner, **{"Last-Event-ID": last_event_id}) as second:
        _, note = second.note()
        [newest, *_] = learner.get("/v1/me/notifications").json()["items"]
        assert note == newest
        enroll(learner, 2)
        assert second.note()[1]["id"] != note["id"]


def test_a_listener_from_the_beginning_hears_everything_in_order(learner: Visitor) -> None:
    enroll(learner, 0)
    eventually(lambda: len(learner.notes()) == 2)
    with listening(learner, **{"Last-Event-ID": "0"}) as listener:
        assert [listener.note()[1]["category"] for _ in range(2)] == ["account", "courses"]


def test_two_hundred_streams_are_open_and_all_of_a_user_hear_the_same(shop: Shop, learner: Visitor) -> None:
    crowd = [shop.learner() for _ in range(10)]
    for each in crowd:
        each.get("/v1/me")
    with ExitStack() as stack:
        for each in crowd:
            for _ in range(20):
                stack.enter_context(listening(each))
        mine = [stack.enter_context(listening(learner)) for _ in range(8)]
        enroll(learner, 0)
        assert len({listener.note()[1]["id"] for listener in mine}) == 1


def test_a_stream_outlives_the_cache_that_announces_notes(shop: Shop, learner: Visitor) -> None:
    with listening(learner) as listener:
        pid = shop.platform.kill("cache")
        shop.platform.wait_for_restart("cache", pid)
        enroll(learner, 0)
        assert listener.note()[1]["category"] == "courses"


def test_the_stream_is_for_those_with_a_token_and_has_its_own_ids(shop: Shop, learner: Visitor) -> None:
    url = f"http://127.0.0.1:{shop.platform.stack.port('stream')}{PATH}"
    assert problem(requests.get(url, timeout=10)) == (401, "token_missing")
    token = {"Authorization": f"Bearer {learner.person.token}"}
    for strange in ("x", "-1", "9" * 30, "1.5"):
        refused = requests.get(url, headers={**token, "Last-Event-ID": strange}, timeout=10)
        assert problem(refused) == (400, "last_event_id_invalid")
    unknown = requests.get(f"{url}?from={uuid4()}", headers=token, timeout=10)
    assert problem(unknown)[0] == 422


def test_one_user_cannot_take_all_streams(learner: Visitor) -> None:
    with ExitStack() as stack:
        oldest, *_ = [stack.enter_context(listening(learner)) for _ in range(21)]
        assert oldest.has_ended()


def test_the_gateway_leads_to_the_stream(learner: Visitor) -> None:
    answer = requests.get(
        f"{learner.shop.platform.url}{PATH}",
        headers={"Authorization": f"Bearer {learner.person.token}"},
        allow_redirects=False,
        timeout=10,
    )
    assert answer.status_code == 307
    assert answer.headers["Location"].endswith(f":{learner.shop.platform.stack.port('stream')}{PATH}")
