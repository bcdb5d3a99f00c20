"""A learner's way through a course, over HTTP: going back, going on, and what there is to show for it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from .shop import Shop, Visitor, eventually
from .test_bad_input import problem

pytestmark = pytest.mark.flow


@pytest.fixture
def learner(shop: Shop) -> tuple[Visitor, str, list[str]]:
    """Somebody in a free course, its id and its lessons."""
    visitor, course_id = shop.learner().enrolled()
    return visitor, course_id, visitor.lessons(course_id)


def test_a_course_is_stopped_gone_on_with_completed_and_certified(shop: Shop, learner) -> None:
    visitor, course_id, lessons = learner
    place = f"/v1/courses/{course_id}/lessons/{lessons[0]}/position"
    for seconds, furthest in ((95, 95), (30, 95)):
        moved = visitor.person.put(place, {"position_seconds": seconds}).json()
        assert (moved["position_seconds"], moved["furthest_seconds"]) == (seconds, furthest)
    assert visitor.get(place).json()["furthest_seconds"] == 95
    assert visitor.progress(course_id)["last_lesson_id"] == lessons[0]

    for lesson_id in lessons:
        visitor.complete(course_id, lesson_id)
    assert visitor.progress(course_id)["percent"] == 100
    reopened = visitor.person.send("DELETE", f"/v1/courses/{course_id}/lessons/{lessons[0]}/completion").json()
    assert (reopened["status"], reopened["next_lesson_id"]) == ("in_progress", lessons[0])
    assert visitor.progress(course_id) == reopened
    assert visitor.get("/v1/me/progress").json()["items"] == [reopened]

    [certificate] = visitor.get("/v1/me/certificates").json()["items"]
    shown = shop.visitor().get(f"/v1/certificates/{certificate['code'].lower()}").json()
    assert shown == {**certificate, "holder": visitor.profile()["name"]}
    assert visitor.get("/v1/me/streak").json()["current_days"] == 1

    percent = reopened["percent"]
    eventually(lambda: visitor.get("/v1/me/enrollments").json()["items"][0]["progress_percent"] == percent)
    dashboard = visitor.get("/v1/me/dashboard").json()
    assert dashboard["partial"] == []
    assert dashboard["enrollments"][0]["progress"] == reopened
    eventually(lambda: visitor.get("/v1/me/notifications/unread-count").json()["unread"] >= len(lessons))


def test_what_was_done_offline_is_made_up_for_once(learner) -> None:
    visitor, course_id, lessons = learner
    done = {"id": "device-1", "course_id": course_id, "kind": "completed", "at": an_hour_ago()}
    events = [{**done, "lesson_id": lessons[0]}, {**done, "id": "device-2", "lesson_id": str(uuid4())}]
    for _ in range(2):
        merged = visitor.post("/v1/me/progress/batch", {"events": events}).json()
        assert [result["code"] for result in merged["results"]] == [None, "not_found"]
    progress = visitor.progress(course_id)
    assert (progress["lessons_completed"], progress["last_lesson_id"]) == (1, lessons[0])


def an_hour_ago() -> str:
    return (datetime.now(UTC) - timedelta(hours=1)).isoformat()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"position_seconds": -1}, "/position_seconds"),
        ({"position_seconds": 1.5}, "/position_seconds"),
        ({"position_seconds": True}, "/position_seconds"),
        ({"seconds": 1}, "/seconds"),
    ],
)
def test_a_position_that_is_none_is_refused(learner, body: dict[str, Any], pointer: str) -> None:
    visitor, course_id, lessons = learner
    answer = visitor.person.put(f"/v1/courses/{course_id}/lessons/{lessons[0]}/position", body)
    assert problem(answer) == (422, "validation_failed")
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}


def test_nothing_is_learned_without_access(shop: Shop) -> None:
    visitor, course = shop.learner(), shop.paid_course()
    lesson = f"/v1/courses/{course['id']}/lessons/{visitor.lessons(course['id'])[0]}"
    assert problem(visitor.person.put(f"{lesson}/position", {"position_seconds": 1})) == (403, "not_enrolled")
    assert problem(visitor.person.send("DELETE", f"{lesson}/completion")) == (403, "not_enrolled")
    assert problem(visitor.get("/v1/certificates/0000-0000-0000-0000")) == (404, "not_found")
