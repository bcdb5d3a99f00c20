"""Authors try their course as a learner, and nothing of it is recorded."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.courses.factories import fields
from tests.integration.courses.quiz_takers import QUESTIONS, RIGHT, quiz
from tests.integration.courses.test_learner_courses import PublishedCourse
from tests.integration.courses.test_quiz_attempts import leaked
from tests.support.databases import Database
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    with running_worker("users", "courses", "progress", "payments"):
        yield


@pytest.fixture
def author(monkeypatch: pytest.MonkeyPatch) -> Person:
    trust_test_tokens(monkeypatch)
    return Person(gateway().test_client(), permissions=("courses:write", "courses:admin"))


def recorded(database: Database) -> list[tuple[Any, ...]]:
    """Return the number of rows of everything that learners leave behind."""
    return database.rows("""
        SELECT (SELECT count(*) FROM bus.outbox), (SELECT count(*) FROM bus.idempotency_keys),
            (SELECT count(*) FROM courses.enrollments), (SELECT count(*) FROM courses.quiz_attempts),
            (SELECT count(*) FROM progress.course_progress), (SELECT count(*) FROM progress.completed_lessons)""")


def test_author_tries_course_lessons_and_quiz_without_a_trace(author, database):
    rules = {"attempts_max": 1, "time_limit_seconds": 600, "shuffle_options": True, "show_answers": "never"}
    course = PublishedCourse(quiz(**rules), lessons=2, sequential=True)
    author.get("/v1/me")
    before = recorded(database)
    preview = f"{course.path}/preview"

    page = author.get(preview).json
    lessons = [each for section in page["sections"] for each in section["lessons"]]
    assert (page["course_id"], page["course_version"], page["progress"]["percent"]) == (str(course.id), 2, 0)
    assert [each["id"] for each in lessons] == [str(each) for each in course.lessons]
    assert not any(each["locked"] or each["completed_at"] for each in lessons)
    text = author.get(f"{preview}/lessons/{course.lessons[0]}")
    assert (text.json["content"], bool(text.headers["ETag"])) == ({"body": "Words."}, True)
    shown = author.get(f"{preview}/lessons/{course.lessons[2]}")
    assert leaked(shown.get_data(as_text=True).lower()) == []

    attempts = f"{preview}/lessons/{course.lessons[2]}/attempts"
    for _ in range(2):  # the limit of one attempt does not apply
        drawn = author.send("POST", attempts).json
        assert (drawn["score_percent"], leaked(str(drawn).lower())) == (None, [])
        answers = {"seed": drawn["seed"], "answers": RIGHT | {"moon": ["false"]}}
        graded = author.send("POST", attempts, answers, Idempotency_Key="a-key").json
        assert (graded["score_percent"], graded["points"], graded["passed"]) == (80, 4, True)
        assert [{**each, "result": 0} for each in graded["questions"]] == [
            {**each, "result": 0} for each in drawn["questions"]
        ]
        assert graded["questions"][2]["result"]["correct"] == ["true"]

    assert recorded(database) == before


def test_draft_is_previewed_before_it_is_published(author):
    course = author.send("POST", "/v1/courses", fields()).json
    path = f"/v1/courses/{course['id']}"
    section = author.send("POST", f"{path}/sections", {"title": "One"}).json
    lesson = {**quiz(*QUESTIONS[:1]), "title": "Q", "section_id": section["id"]}
    created = author.send("POST", f"{path}/lessons", lesson).json

    page = author.get(f"{path}/preview").json

    assert (page["course_version"], page["on_sale"], page["lessons_total"]) == (1, False, 1)
    shown = author.get(f"{path}/preview/lessons/{created['id']}").json
    assert [set(each) & {"correct", "explanation"} for each in shown["content"]["questions"]] == [set()]


def test_preview_is_for_the_authors_of_the_course(author):
    course = PublishedCourse(quiz(), lessons=0)
    stranger = Person(author.client, permissions=("courses:write",))
    learner = Person(author.client)
    lesson = f"{course.path}/preview/lessons/{course.lessons[0]}"

    for path in (f"{course.path}/preview", lesson):
        assert problem(stranger.get(path)) == (404, "not_found")
        assert problem(learner.get(path)) == (403, "insufficient_permission")
    assert problem(stranger.send("POST", f"{lesson}/attempts", {"answers": RIGHT})) == (404, "not_found")
    assert problem(learner.send("POST", f"{lesson}/attempts", {"answers": RIGHT})) == (403, "insufficient_permission")
    assert problem(author.send("POST", f"{lesson}/attempts", {"answers": {"x": []}})) == (422, "invalid_answers")
    assert problem(author.send("POST", f"{lesson}/attempts", {"seed": -1})) == (422, "validation_failed")
