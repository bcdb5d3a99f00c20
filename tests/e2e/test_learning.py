"""A learner's course over HTTP: positions, completions, quizzes, reviews and certificates."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import requests

from .harness import ScenarioHarness, Visitor, eventually, problem


@pytest.fixture
def learner(harness: ScenarioHarness) -> tuple[Visitor, str, list[str]]:
    """A learner in a free course, with the course's id and its lesson ids."""
    visitor, course_id = harness.learner().enroll_in_free_course()
    return visitor, course_id, visitor.lessons(course_id)


def test_course_is_resumed_completed_and_certified(harness: ScenarioHarness, learner) -> None:
    visitor, course_id, lessons = learner
    place = f"/v1/courses/{course_id}/lessons/{lessons[0]}/position"
    for seconds, furthest in ((95, 95), (30, 95)):
        position = visitor.person.put(place, {"position_seconds": seconds}).json()
        assert (position["position_seconds"], position["furthest_seconds"]) == (seconds, furthest)
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
    shown = harness.visitor().get(f"/v1/certificates/{certificate['code'].lower()}").json()
    assert shown == shown | certificate | {"holder": visitor.profile()["name"]}
    assert visitor.get("/v1/me/streak").json()["current_days"] == 1
    page_url = shown["verification_url"]
    eventually(lambda: any(page_url in mail["text"] for mail in harness.platform.mails(visitor.person.email)))
    link = f"{harness.platform.url}/v1/certificates/{certificate['code']}"
    page = requests.get(link, headers={"Accept": "text/html,*/*;q=0.8"}, timeout=10)  # as a browser requests it
    assert (page.headers["Content-Type"], page.headers["Vary"]) == (
        "text/html; charset=utf-8",
        "Accept, Accept-Language",
    )
    assert all(each in page.text for each in (shown["code"], shown["course_title"], shown["holder"]))

    percent = reopened["percent"]
    eventually(lambda: visitor.get("/v1/me/enrollments").json()["items"][0]["progress_percent"] == percent)
    dashboard = visitor.get("/v1/me/dashboard").json()
    assert dashboard["partial"] == []
    assert dashboard["enrollments"][0]["progress"] == reopened
    eventually(lambda: visitor.get("/v1/me/notifications/unread-count").json()["unread"] >= len(lessons))


def test_offline_progress_is_merged_once(learner) -> None:
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
def test_invalid_position_is_rejected(learner, body: dict[str, Any], pointer: str) -> None:
    visitor, course_id, lessons = learner
    answer = visitor.person.put(f"/v1/courses/{course_id}/lessons/{lessons[0]}/position", body)
    assert problem(answer) == (422, "validation_failed")
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}


COURSE = {
    "title": "Knots",
    "category": "sailing",
    "level": "beginner",
    "language": "en",
    "price": {"amount_minor": 0, "currency": "USD"},
}
QUIZ = {
    "id": "bowline",
    "text": "What does a bowline do?",
    "options": [{"id": "holds", "text": "It holds."}, {"id": "slips", "text": "It slips."}],
    "correct": ["holds"],
}


def test_quiz_is_passed_and_course_completed_and_reviewed(harness: ScenarioHarness) -> None:
    author, learner = Visitor(harness, harness.platform.person("instructor@demo.test")), harness.learner()
    author.profile()
    learner.profile()
    course = author.post("/v1/courses", COURSE).json()
    path = f"/v1/courses/{course['id']}"
    section = author.post(f"{path}/sections", {"title": "All"}).json()
    lesson = {"section_id": section["id"], "title": "Rope", "kind": "text", "content": {"body": "Take a rope."}}
    text = author.post(f"{path}/lessons", lesson).json()
    rule = {"rule": "min_score", "min_score_percent": 100}
    quiz = {**lesson, "kind": "quiz", "content": {"questions": [QUIZ]}, "completion": rule}
    quiz_id = author.post(f"{path}/lessons", quiz).json()["id"]
    etag = author.get(path).headers["ETag"]
    first = {"course_ids": [], "sequential": True}
    assert author.person.put(f"{path}/prerequisites", first, If_Match=etag).json()["sequential"]
    assert author.post(f"{path}/versions").status_code == 201

    assert learner.post(f"{path}/enrollments", {}).status_code == 201
    eventually(lambda: learner.get(f"/v1/me/courses/{course['id']}").status_code == 200)
    locked = learner.get(f"{path}/lessons/{quiz_id}")
    assert problem(locked) == (409, "lesson_locked")
    assert text["id"] in locked.json()["detail"]
    assert problem(learner.put(f"{path}/lessons/{quiz_id}/completion")) == (409, "lesson_locked")
    learner.complete(course["id"], text["id"])
    assert problem(learner.put(f"{path}/lessons/{quiz_id}/completion")) == (409, "quiz_not_passed")

    attempts = f"{path}/lessons/{quiz_id}/attempts"
    assert learner.get(f"{path}/lessons/{quiz_id}").status_code == 200
    assert problem(learner.post(attempts, {"answers": {"reef": ["holds"]}})) == (422, "invalid_answers")
    failed = learner.post(attempts, {"answers": {"bowline": ["slips"]}}).json()
    assert (failed["attempt"], failed["score_percent"], failed["passed"]) == (1, 0, False)
    key = uuid4().hex
    passed, repeated = (learner.post(attempts, {"answers": {"bowline": ["holds"]}}, key=key).json() for _ in range(2))
    assert (passed["attempt"], passed["score_percent"], passed["passed"]) == (2, 100, True)
    assert repeated == passed
    assert learner.progress(course["id"])["status"] == "completed"

    assert learner.post(f"{path}/reviews", {"rating": 5, "text": "Held."}).status_code == 201
    assert [review["rating"] for review in harness.visitor().get(f"{path}/reviews").json()["items"]] == [5]
    assert problem(harness.learner().post(f"{path}/reviews", {"rating": 1})) == (403, "not_enrolled")
    assert problem(learner.post(f"{path}/reviews", {"rating": 6})) == (422, "validation_failed")
    [version] = author.get(f"{path}/versions").json()["items"]
    restore, seen = f"{path}/versions/{version['course_version']}/restore", author.get(path).headers["ETag"]
    assert problem(author.post(restore)) == (428, "precondition_required")
    assert author.person.send("POST", restore, If_Match=seen).status_code == 200
    assert author.person.send("POST", restore, If_Match=seen).status_code == 412


def test_publication_moves_learners_at_0_50_and_100_percent(harness: ScenarioHarness) -> None:
    author = Visitor(harness, harness.platform.person("instructor@demo.test"))
    author.profile()
    course = author.post("/v1/courses", {**COURSE, "title": "Splices"}).json()
    path, page = f"/v1/courses/{course['id']}", f"/v1/me/courses/{course['id']}"
    section = author.post(f"{path}/sections", {"title": "All"}).json()
    lesson = {"section_id": section["id"], "title": "Rope", "kind": "text", "content": {"body": "Take a rope."}}
    lessons = [author.post(f"{path}/lessons", lesson).json()["id"] for _ in range(2)]
    assert author.post(f"{path}/publish").status_code == 200
    new, half, done = (harness.learner() for _ in range(3))
    for learner, completed in ((new, 0), (half, 1), (done, 2)):
        assert learner.post(f"{path}/enrollments", {}).status_code == 201
        eventually(lambda learner=learner: learner.get(page).status_code == 200)
        for lesson_id in lessons[:completed]:
            learner.complete(course["id"], lesson_id)
    certificate = done.get(page).json()["certificate"]

    added = author.post(f"{path}/lessons", lesson).json()["id"]
    assert author.post(f"{path}/publish", {"learners": "move"}).status_code == 200

    for learner, percent, status in ((new, 0, "in_progress"), (half, 33, "in_progress"), (done, 66, "completed")):
        shown = eventually(lambda learner=learner: (it := learner.get(page).json())["course_version"] == 2 and it)
        assert (shown["progress"]["percent"], shown["progress"]["status"]) == (percent, status)
        assert learner.get(f"{path}/lessons/{added}").status_code == 200
    assert done.get(page).json()["certificate"] == certificate
