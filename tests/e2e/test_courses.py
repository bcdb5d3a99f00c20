"""The life of a course: draft, publication, search, changes, unpublishing, archive."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from .harness import ScenarioHarness, Visitor, eventually, problem
from .test_learning import COURSE


class Author(Visitor):
    """The author of a course with one lesson and a unique word in its title."""

    def __init__(self, harness: ScenarioHarness) -> None:
        super().__init__(harness, harness.platform.person("instructor@demo.test"))
        self.word = f"zugzwang{uuid4().hex[:6]}"
        self.key = uuid4().hex
        self.fields = {**COURSE, "title": f"Master the {self.word}", "category": "chess", "tags": [self.word]}
        self.course = self.post("/v1/courses", self.fields, key=self.key).json()
        self.path = f"/v1/courses/{self.course['id']}"

    def add_lesson(self) -> None:
        section = self.post(f"{self.path}/sections", {"title": "All"}).json()
        lesson = {"section_id": section["id"], "title": "One", "kind": "text", "content": {"body": "Words."}}
        assert self.post(f"{self.path}/lessons", lesson).status_code == 201

    def etag(self) -> str:
        return self.get(self.path).headers["ETag"]

    def change(self, body: Any, **headers: str) -> tuple[int, str]:
        answer = self.person.send("PATCH", self.path, body, **headers)
        return answer.status_code, answer.json().get("code", "")


@pytest.fixture
def author(harness: ScenarioHarness) -> Iterator[Author]:
    """An author whose course is archived after the test, because other tests search the same catalogue."""
    author = Author(harness)
    yield author
    if author.get(author.path).ok:
        author.person.send("DELETE", author.path, If_Match=author.etag())


def search_course_ids(harness: ScenarioHarness, **query: Any) -> list[str]:
    return [course["id"] for course in harness.courses(**query)]


def test_course_is_created_published_and_found(harness: ScenarioHarness, author: Author) -> None:
    again = author.post("/v1/courses", author.fields, key=author.key)
    assert (again.status_code, again.json()["id"]) == (201, author.course["id"])
    own_courses = author.get("/v1/me/courses/teaching?limit=100").json()["items"]
    assert [course["title"] for course in own_courses].count(author.fields["title"]) == 1
    assert problem(harness.visitor().get(author.path)) == (404, "not_found")
    assert problem(author.post(f"{author.path}/publish")) == (409, "course_empty")

    author.add_lesson()
    key = uuid4().hex
    published = [author.post(f"{author.path}/publish", key=key) for _ in range(2)]
    assert [answer.status_code for answer in published] == [200, 200]
    assert published[0].json() == published[1].json()
    assert len(author.get(f"{author.path}/versions").json()["items"]) == 1
    eventually(lambda: search_course_ids(harness, q=author.word) == [author.course["id"]])
    misspelled = f"{author.word[:3]}x{author.word[4:]}"
    assert search_course_ids(harness, q=misspelled) == [author.course["id"]]
    assert search_course_ids(harness, tag=author.word, level="beginner", free="true") == [author.course["id"]]
    assert search_course_ids(harness, tag=author.word, level="advanced") == []
    query = urlencode({"tag": author.word, "facets": "true", "total": "true"})
    counted = harness.visitor().get(f"/v1/courses?{query}").json()
    assert (counted["total"], counted["facets"]["category"]) == (1, [{"value": "chess", "count": 1}])


def test_course_update_requires_current_etag(harness: ScenarioHarness, author: Author) -> None:
    author.add_lesson()
    author.post(f"{author.path}/publish")
    stale = author.etag()
    price = {"price": {"amount_minor": 2900, "currency": "EUR"}}
    assert author.change(price) == (428, "precondition_required")
    assert author.change(price, If_Match=stale) == (200, "")
    assert author.change({"title": "Late"}, If_Match=stale) == (412, "precondition_failed")
    assert author.change({"price": {"amount_minor": -1, "currency": "EUR"}}, If_Match=author.etag())[0] == 422
    # Read your own writes: the new price is visible once the author has the response.
    assert harness.visitor().get(author.path).json()["price"] == price["price"]
    stranger = harness.learner().person.send("PATCH", author.path, price, If_Match=author.etag())
    assert problem(stranger) == (403, "insufficient_permission")


def test_unpublished_course_stays_open_to_learners(harness: ScenarioHarness, author: Author) -> None:
    author.add_lesson()
    author.post(f"{author.path}/publish")
    pupil = harness.learner()
    pupil.profile()
    answers = [pupil.post(f"{author.path}/enrollments", {}).status_code for _ in range(2)]
    assert answers[0] == 201
    eventually(lambda: pupil.progress(author.course["id"]))
    assert len(pupil.get("/v1/me/enrollments").json()["items"]) == 1

    assert author.post(f"{author.path}/unpublish").status_code == 200
    assert search_course_ids(harness, tag=author.word) == []
    assert problem(harness.visitor().get(author.path)) == (404, "not_found")
    late = harness.learner()
    late.profile()
    assert problem(late.post(f"{author.path}/enrollments", {}))[0] == 404
    lesson_id = author.get(author.path).json()["sections"][0]["lessons"][0]["id"]
    assert pupil.complete(author.course["id"], lesson_id)["status"] == "completed"
    archived = author.person.send("DELETE", author.path, If_Match=author.etag())
    assert archived.status_code == 204
    assert pupil.get(f"/v1/me/courses/{author.course['id']}/access").json()["access"]
