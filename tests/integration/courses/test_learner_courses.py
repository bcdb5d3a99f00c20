"""A learner's own courses over HTTP, while no event between the services is delivered: read your own writes."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from core.db import session_factory
from models.commands.courses import LessonFields, PlannedSection
from models.courses.course import Course
from models.courses.versions import CourseVersion
from models.events import CoursePurchased
from tests.integration.courses.factories import author_of, fields, make_draft, make_lesson
from tests.integration.courses.test_quizzes import QUIZ
from tests.support.events import build_event
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens
from tests.support.tasks import noop_cache
from workers.courses.access import grant_access
from workers.courses.authoring import archive_course, publish_course, set_prerequisites
from workers.courses.outline import change_lesson, remove_lesson, reorder_outline
from workers.progress.outline_projection import upsert_outline

FREE = {"amount_minor": 0, "currency": "USD"}


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    with running_worker("users", "courses", "progress", "payments"):
        yield


@pytest.fixture
def learner(monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    return Person(gateway().test_client())


class PublishedCourse:
    """A sequential free course whose outlines have arrived in the progress service: two texts and a quiz."""

    def __init__(self, quiz: dict[str, Any] = QUIZ, **overrides: Any) -> None:
        with session_factory("courses").begin() as session:
            course = make_draft(session, **{"lessons": 2, "price": FREE, "sequential": True, **overrides})
            lesson = {**quiz, "title": "Quiz"}
            make_lesson(session, course.id, str(course.sections[0].id), author_of(course), **lesson)
            self.id, self.author = course.id, author_of(course)
            self.publish(session)
            self.lessons = [lesson.id for lesson in course.lessons()]
        self.path = f"/v1/courses/{self.id}"
        self.page = f"/v1/me/courses/{self.id}"

    def publish(self, session: Any) -> None:
        publish_course(session, noop_cache, ref=str(self.id), caller=self.author)
        version = CourseVersion.get_latest(session, self.id)
        event = version.published_event(Course.get(session, str(self.id)))
        with session_factory("progress").begin() as progress:
            upsert_outline(progress, event=event, event_version=event.course_version)

    def put_in_front(self) -> UUID:
        """Publish a sequential version with another lesson before all others; return its id."""
        with session_factory("courses").begin() as session:
            section_id = Course.get(session, str(self.id), outline=True).sections[0].id
            added = UUID(make_lesson(session, self.id, str(section_id), self.author)["id"])
            plan = [PlannedSection(id=section_id, lessons=[added, *self.lessons])]
            change = {"course_id": self.id, "caller": self.author}
            version = Course.get(session, str(self.id)).version
            changed = reorder_outline(session, **change, expected_version=version, sections=plan)
            rules = {"prerequisites": [], "sequential": True, "expected_version": changed["version"]}
            set_prerequisites(session, noop_cache, **change, **rules)
            self.publish(session)
        return added

    def remove(self, lesson_id: UUID) -> None:
        with session_factory("courses").begin() as session:
            version = Course.get(session, str(self.id)).version
            remove_lesson(session, course_id=self.id, lesson_id=lesson_id, caller=self.author, expected_version=version)
            self.publish(session)


def lessons_of(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [lesson for section in page["sections"] for lesson in section["lessons"]]


def test_learner_page_follows_each_step_while_events_are_delayed(learner):
    course = PublishedCourse()
    first, second, quiz = course.lessons
    assert problem(learner.get(course.page)) == (403, "not_enrolled")
    assert learner.send("POST", f"{course.path}/enrollments").status_code == 201

    page = learner.get(course.page).json
    assert (page["progress"]["percent"], page["progress"]["next_lesson_id"]) == (0, str(first))
    assert [each["locked_reason"] for each in lessons_of(page)] == [None, "previous_lesson", "previous_lesson"]
    assert lessons_of(page)[2]["locked_by"] == str(first)
    assert problem(learner.get(f"{course.path}/lessons/{second}")) == (409, "lesson_locked")

    for lesson_id in (first, second):
        assert learner.get(f"{course.path}/lessons/{lesson_id}").status_code == 200
        assert learner.send("PUT", f"{course.path}/lessons/{lesson_id}/completion").status_code == 200
    attempt = learner.send("POST", f"{course.path}/lessons/{quiz}/attempts", {"answers": {"one": ["a"]}})
    assert (attempt.status_code, attempt.json["passed"]) == (201, True)
    listed = learner.get(f"{course.path}/lessons/{quiz}/attempts").json["items"]
    [item] = listed
    assert item == {**item, **attempt.json, "status": "submitted", "answers": {"one": ["a"]}}

    page = learner.get(course.page).json
    assert all(each["completed_at"] and not each["locked"] for each in lessons_of(page))
    assert (page["progress"]["percent"], lessons_of(page)[2]["score_percent"]) == (100, 50)
    assert page["certificate"]["code"]
    [item] = learner.get("/v1/me/courses").json["items"]
    assert (item["title"], item["progress"]) == (page["title"], page["progress"])


def test_learner_keeps_their_version_and_their_page_after_archive(learner):
    course = PublishedCourse()
    learner.send("POST", f"{course.path}/enrollments")
    first, second, quiz = course.lessons

    course.remove(first)
    with session_factory("courses").begin() as session:
        version = Course.get(session, str(course.id)).version
        archive_course(session, noop_cache, ref=str(course.id), caller=course.author, expected_version=version)

    page = learner.get(course.page).json
    assert [each["id"] for each in lessons_of(page)] == [str(first), str(second), str(quiz)]
    assert (page["course_version"], page["latest_version"], page["on_sale"]) == (1, 2, False)
    assert learner.get(f"{course.path}/lessons/{first}").status_code == 200


@pytest.mark.parametrize("sequential", [False, True])
def test_lessons_put_in_front_lock_nothing_in_the_learners_version(learner, sequential):
    course = PublishedCourse(sequential=sequential)
    first, second, _ = (f"{course.path}/lessons/{each}" for each in course.lessons)
    learner.send("POST", f"{course.path}/enrollments")
    assert learner.send("PUT", f"{first}/completion").json["next_lesson_id"] == str(course.lessons[1])

    added = f"{course.path}/lessons/{course.put_in_front()}"

    assert problem(learner.get(added)) == problem(learner.send("PUT", f"{added}/completion")) == (404, "not_found")
    assert [learner.get(each).status_code for each in (first, second)] == [200, 200]
    assert learner.send("PUT", f"{second}/completion").json["percent"] == 66


def test_quiz_of_the_learners_version_is_passed_after_it_became_a_text(learner):
    course = PublishedCourse(lessons=0)
    [quiz] = course.lessons
    learner.send("POST", f"{course.path}/enrollments")
    with session_factory("courses").begin() as session:
        version = Course.get(session, str(course.id)).version
        text = LessonFields(kind="text", content={"body": "Words."}, completion={"rule": "manual"})
        place = {"course_id": course.id, "lesson_id": quiz, "caller": course.author, "section_id": None}
        change_lesson(session, **place, expected_version=version, fields=text)
        course.publish(session)

    attempt = learner.send("POST", f"{course.path}/lessons/{quiz}/attempts", {"answers": {"one": ["a"]}})

    assert (attempt.status_code, attempt.json["passed"]) == (201, True)
    assert learner.get(course.page).json["progress"]["percent"] == 100


def test_learner_takes_the_newest_version_on_request(learner):
    course = PublishedCourse()
    first, second, quiz = course.lessons
    learner.send("POST", f"{course.path}/enrollments")
    learner.send("PUT", f"{course.path}/lessons/{first}/completion")
    with session_factory("courses").begin() as session:
        section_id = str(Course.get(session, str(course.id), outline=True).sections[0].id)
        added = make_lesson(session, course.id, section_id, course.author)["id"]
    author = Person(learner.client, permissions=("courses:admin", "courses:write"))
    preview = author.get(f"{course.path}/publication-preview").json
    assert (preview["course_version"], preview["lessons_added"], preview["errors"]) == (2, 1, [])
    assert preview["learners"] == {"not_started": 1, "in_progress": 0, "completed": 0}  # no event has arrived
    with session_factory("courses").begin() as session:
        course.publish(session)

    assert problem(learner.get(f"{course.path}/lessons/{added}")) == (404, "not_found")  # their version lacks it
    assert learner.send("POST", f"{course.page}/upgrade").json["percent"] == 25
    page = learner.get(course.page).json
    assert [each["id"] for each in lessons_of(page)] == [str(first), str(second), str(quiz), added]
    assert problem(learner.get(f"{course.path}/lessons/{added}")) == (409, "lesson_locked")
    assert author.send("POST", f"{course.path}/publish", {"learners": "move"}).status_code == 200
    assert problem(author.send("POST", f"{course.path}/publish", {"learners": "all"})) == (422, "validation_failed")


def test_prerequisite_completed_just_now_opens_the_course(learner):
    required, course = PublishedCourse(lessons=0, sequential=False), PublishedCourse()
    with session_factory("courses").begin() as session:
        rules = {"prerequisites": [required.id], "sequential": None}
        version = Course.get(session, str(course.id)).version
        change = {"course_id": course.id, "caller": course.author, "expected_version": version}
        set_prerequisites(session, noop_cache, **change, **rules)
        course.publish(session)
    lesson = f"{course.path}/lessons/{course.lessons[0]}"
    for each in (required, course):
        learner.send("POST", f"{each.path}/enrollments")

    assert problem(learner.get(lesson)) == (409, "prerequisite_missing")
    assert lessons_of(learner.get(course.page).json)[0]["locked_by"] == str(required.id)
    attempts = f"{required.path}/lessons/{required.lessons[0]}/attempts"
    assert learner.send("POST", attempts, {"answers": {"one": ["a"]}}).json["passed"]

    assert learner.get(lesson).status_code == 200
    assert learner.send("PUT", f"{lesson}/completion").status_code == 200


def test_offline_batch_starts_a_course_enrolled_just_now(learner):
    course, other = PublishedCourse(), PublishedCourse()
    learner.send("POST", f"{course.path}/enrollments")
    done = {"kind": "completed", "at": "2026-01-01T12:00:00Z"}
    events = [
        {**done, "id": "1", "course_id": str(course.id), "lesson_id": str(course.lessons[0])},
        {**done, "id": "2", "course_id": str(other.id), "lesson_id": str(other.lessons[0])},
    ]

    results = learner.send("POST", "/v1/me/progress/batch", {"events": events}).json["results"]

    assert [result["code"] for result in results] == [None, "not_enrolled"]


def test_paid_course_without_its_grant_is_answered_with_503(learner, database):
    course = PublishedCourse(price=fields()["price"])
    user_id = UUID(learner.get("/v1/me").json["id"])
    event = build_event(CoursePurchased, user_id=user_id, course_id=course.id)
    database.execute(
        "INSERT INTO payments.orders (id, version, user_id, course_id, status, course_title, amount_minor, currency,"
        " created_at, paid_at) VALUES (:id, 1, :user, :course, 'paid', 'A', 100, 'USD', now(), now())",
        id=event.order_id,
        user=user_id,
        course=course.id,
    )
    lesson = f"{course.path}/lessons/{course.lessons[0]}"

    for path in (course.page, lesson, f"{course.path}/progress", f"{course.page}/access"):
        answer = learner.get(path)
        assert problem(answer) == (503, "projection_not_ready"), path
        assert answer.headers["Retry-After"] == "1"
    with session_factory("courses").begin() as session:
        grant_access(session, event=event)
    for path in (course.page, lesson, f"{course.path}/progress", f"{course.page}/access"):
        assert learner.get(path).status_code == 200, path
