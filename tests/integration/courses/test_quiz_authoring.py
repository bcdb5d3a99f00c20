"""Quizzes as their authors write, read, export and import them."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.courses.quiz_takers import QUESTIONS, quiz
from tests.integration.courses.test_learner_courses import PublishedCourse
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    with running_worker("users", "courses", "progress", "payments"):
        yield


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch) -> None:
    trust_test_tokens(monkeypatch)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"kind": "essay"}, "/content/questions/0/kind"),
        ({"kind": "choice"}, "/content/questions/0/options"),
        ({"options": [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}]}, "/content/questions/0/options"),
        ({"correct": ["perhaps"]}, "/content/questions/0/correct"),
        ({"kind": "numeric", "correct": ["five"]}, "/content/questions/0/correct"),
        ({"kind": "numeric", "correct": ["1", "2"]}, "/content/questions/0/correct"),
        ({"kind": "numeric", "correct": ["1"], "tolerance": "-1"}, "/content/questions/0/tolerance"),
        ({"tolerance": "1"}, "/content/questions/0/tolerance"),
        ({"multiple": True}, "/content/questions/0/multiple"),
        ({"partial_credit": True}, "/content/questions/0/partial_credit"),
        ({"points": 0}, "/content/questions/0/points"),
        ({"pool": "unknown"}, "/content/questions/0/pool"),
        ({"answer": "true"}, "/content/questions/0/answer"),
    ],
)
def test_question_that_cannot_be_answered_is_refused_with_its_place(change, pointer):
    assert pointers(quiz({**QUESTIONS[2], **change})) == [pointer]


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [
        ({"attempts_max": 0}, "/content/settings/attempts_max"),
        ({"time_limit_seconds": 1}, "/content/settings/time_limit_seconds"),
        ({"show_answers": "always"}, "/content/settings/show_answers"),
        ({"pools": [{"id": "p", "draw": 1}]}, "/content/settings/pools/0/draw"),
        ({"pools": [{"id": "p", "draw": 1}, {"id": "p", "draw": 1}]}, "/content/settings/pools/1/id"),
        ({"retries": 3}, "/content/settings/retries"),
    ],
)
def test_impossible_rules_are_refused_with_their_place(settings, pointer):
    assert pointers(quiz(**settings)) == [pointer]


def pointers(lesson: dict[str, Any]) -> list[str]:
    """Send a lesson to the first section of a new course; return the pointers of the errors."""
    author = Person(gateway().test_client(), permissions=("courses:write", "courses:admin"))
    course = PublishedCourse()
    section_id = author.get(f"{course.path}/outline").json["sections"][0]["id"]
    answer = author.send("POST", f"{course.path}/lessons", {**lesson, "title": "Q", "section_id": section_id})
    assert problem(answer) == (422, "validation_failed")
    return [error["pointer"] for error in answer.json["errors"]]


def test_author_reads_back_every_field_of_a_quiz():
    author = Person(gateway().test_client(), permissions=("courses:write", "courses:admin"))
    course = PublishedCourse()
    section_id = author.get(f"{course.path}/outline").json["sections"][0]["id"]
    pooled = {**QUESTIONS[3], "pool": "p"}
    rules = {
        "attempts_max": 2,
        "time_limit_seconds": 900,
        "shuffle_questions": True,
        "shuffle_options": True,
        "show_answers": "after_passing",
        "pools": [{"id": "p", "draw": 1}],
    }
    lesson = {**quiz(*QUESTIONS[:3], pooled, **rules), "title": "Q", "section_id": section_id}

    created = author.send("POST", f"{course.path}/lessons", lesson)

    content = author.get(f"{course.path}/lessons/{created.json['id']}").json["content"]
    assert content["settings"] == rules
    sent = [{"points": 1, **each} for each in lesson["content"]["questions"]]
    assert content["questions"] == sent


def test_exported_quiz_is_imported_with_every_field():
    author = Person(gateway().test_client(), permissions=("courses:write", "courses:admin"))
    rules = {"attempts_max": 2, "show_answers": "after_passing", "pools": [{"id": "p", "draw": 1}]}
    course = PublishedCourse(quiz(*QUESTIONS[:3], {**QUESTIONS[3], "pool": "p"}, **rules), lessons=0)
    exported = author.get(f"{course.path}/export").json

    imported = author.send("POST", "/v1/course-imports", exported)
    again = author.get(f"/v1/courses/{imported.json['id']}/export").json

    content = again["sections"][0]["lessons"][0]["content"]
    assert imported.status_code == 201
    assert content["settings"] == rules
    sent = exported["sections"][0]["lessons"][0]["content"]["questions"]
    assert content["questions"] == [{"kind": "choice", "multiple": False, "points": 1, **each} for each in sent]
    impossible = {**exported, "sections": [{"title": "A", "lessons": [{**quiz(**rules), "title": "Q"}]}]}
    refused = author.send("POST", "/v1/course-imports", impossible)
    assert [each["pointer"] for each in refused.json["errors"]] == [
        "/sections/0/lessons/0/content/settings/pools/0/draw"
    ]
