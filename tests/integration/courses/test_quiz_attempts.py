"""Attempts at quizzes over HTTP: limits, time, versions, and when correct answers are shown."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from core.db import session_factory, utc_now
from models.courses.course import Course
from models.courses.quizzes import QuizAttempt
from models.events import UserDeleted
from tests.integration.courses.factories import make_lesson
from tests.integration.courses.quiz_takers import RIGHT, SECRET, SECRETS, Taker, quiz, take
from tests.integration.courses.test_learner_courses import PublishedCourse
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens
from workers.courses.outline import change_lesson


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    with running_worker("users", "courses", "progress", "payments"):
        yield


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch) -> None:
    trust_test_tokens(monkeypatch)


def change_quiz(course: PublishedCourse, **fields: Any) -> None:
    """Change the quiz of the course and publish a new version."""
    with session_factory("courses").begin() as session:
        version = Course.get(session, str(course.id)).version
        place = {"course_id": course.id, "lesson_id": course.lessons[-1], "section_id": None}
        change_lesson(session, **place, caller=course.author, expected_version=version, fields=fields)
        course.publish(session)


def overdue(database: Database, taker: Taker, *, seconds: int) -> None:
    """Let the time of the learner's open attempt have ended ``seconds`` ago."""
    database.execute(
        "UPDATE courses.quiz_attempts SET started_at = now() - interval '1 hour',"
        " expires_at = now() - :seconds * interval '1 second' WHERE user_id = :user AND status = 'open'",
        seconds=seconds,
        user=taker.id,
    )


def test_attempt_is_started_resumed_and_graded():
    taker = take(time_limit_seconds=600, attempts_max=2)
    assert taker.state() == {
        "course_version": 1,
        "start_required": True,
        "questions_total": 4,
        "pass_percent": 60,
        "time_limit_seconds": 600,
        "show_answers": "never",
        "attempts_max": 2,
        "attempts_used": 0,
        "attempts_left": 2,
        "open_attempt": None,
        "best_score_percent": None,
        "passed": False,
    }
    assert taker.person.get(taker.lesson).json["content"]["questions"] == []

    started = taker.start()
    resumed = taker.start()

    assert (started.status_code, started.json["attempt"], started.json["status"]) == (201, 1, "open")
    assert 590 <= started.json["seconds_left"] <= 600
    assert [each["id"] for each in started.json["questions"]] == ["capital", "count", "moon", "parts"]
    assert {**resumed.json, "seconds_left": 0} == {**started.json, "seconds_left": 0}
    assert (taker.state()["open_attempt"], taker.state()["attempts_left"]) == (1, 1)
    graded = taker.submit(1, **RIGHT | {"parts": ["b"]})
    assert (graded.status_code, graded.json["score_percent"], graded.json["passed"]) == (201, 90, True)
    assert (graded.json["points"], graded.json["points_total"], graded.json["status"]) == (4.5, 5, "submitted")
    assert problem(taker.submit(1, **RIGHT)) == (409, "attempt_closed")
    assert problem(taker.save(1)) == (409, "attempt_closed")
    page = taker.person.get(taker.course.page).json
    assert (page["progress"]["percent"], page["sections"][0]["lessons"][0]["score_percent"]) == (100, 90)
    assert (taker.state()["best_score_percent"], taker.state()["passed"]) == (90, True)


def test_started_attempts_are_limited_and_an_instructor_gives_more():
    taker = take(attempts_max=1)
    other = Taker(taker.course)
    assert problem(taker.person.send("POST", taker.path, {"answers": RIGHT})) == (409, "attempt_not_started")
    assert taker.start().json["attempts_left"] == 0
    assert taker.submit(1).json["passed"] is False
    assert problem(taker.start()) == (409, "attempts_exhausted")

    extra = f"{taker.lesson}/extra-attempts"
    body = {"user_id": taker.id, "attempts": 2}
    staff = Person(taker.person.client, permissions=("courses:write", "courses:admin"))
    stranger = Person(taker.person.client, permissions=("courses:write",))
    assert problem(taker.person.send("POST", extra, body)) == (403, "insufficient_permission")
    assert problem(stranger.send("POST", extra, body)) == (404, "not_found")
    assert problem(staff.send("POST", extra, {**body, "user_id": str(uuid4())})) == (404, "not_found")
    assert problem(staff.send("POST", extra, {**body, "attempts": 0})) == (422, "validation_failed")
    given = staff.send("POST", extra, body)
    again = staff.send("POST", extra, {"user_id": taker.id})

    assert (given.status_code, given.json["extra_attempts"], given.json["attempts_left"]) == (201, 2, 2)
    assert (again.json["extra_attempts"], again.json["attempts_used"], again.json["attempts_left"]) == (3, 1, 3)
    assert taker.start().json["attempt"] == 2
    assert other.state()["attempts_left"] == 1


def test_submission_after_the_limit_is_refused_and_saved_answers_are_graded(database):
    taker = take(time_limit_seconds=600)
    taker.start()
    assert taker.save(1, **RIGHT | {"parts": ["a"]}).json["answers"]["moon"] == ["true"]
    assert problem(taker.save(1, unknown=["a"])) == (422, "invalid_answers")

    overdue(database, taker, seconds=60)

    assert problem(taker.submit(1, **RIGHT)) == (409, "attempt_expired")
    attempt = taker.read(1)
    assert (attempt["status"], attempt["score_percent"], attempt["passed"]) == ("expired", 80, True)
    assert (attempt["attempted_at"], attempt["answers"]["parts"]) == (attempt["expires_at"], ["a"])
    assert taker.person.get(taker.course.page).json["progress"]["percent"] == 100


def test_submission_within_the_grace_counts(database):
    taker = take(time_limit_seconds=600)
    taker.start()
    overdue(database, taker, seconds=5)

    assert taker.read(1)["seconds_left"] == 0
    assert taker.submit(1, **RIGHT).json["score_percent"] == 100


def test_attempt_that_is_not_submitted_is_graded_by_the_job(database):
    taker, waiting = take(time_limit_seconds=600), take(time_limit_seconds=600)
    for each in (taker, waiting):
        each.start()
        each.save(1, **RIGHT)
    overdue(database, taker, seconds=60)

    deliver("courses.expire_quiz_attempts", {"slot": utc_now()})

    assert (taker.read(1)["status"], waiting.read(1)["status"]) == ("expired", "open")
    published = database.rows(
        "SELECT payload->'passed', payload->'score_percent' FROM bus.outbox"
        " WHERE type = 'QUIZ_ATTEMPTED' AND payload->>'user_id' = :user",
        user=taker.id,
    )
    assert published == [(True, 100)]


def test_attempt_that_cannot_be_graded_does_not_keep_the_others_from_being_graded(database, monkeypatch):
    monkeypatch.setattr("workers.courses.quizzes._PAGE_SIZE", 1)
    broken, *others = takers = [take(time_limit_seconds=600) for _ in range(3)]
    for seconds, taker in zip((300, 200, 100), takers, strict=True):
        taker.start()
        overdue(database, taker, seconds=seconds)
    set_version = "UPDATE courses.quiz_attempts SET course_version = :version WHERE user_id = :user"
    database.execute(set_version, version=99, user=broken.id)

    run = deliver("courses.expire_quiz_attempts", {"slot": utc_now()})

    database.execute(set_version, version=1, user=broken.id)
    assert [each.read(1)["status"] for each in others] == ["expired", "expired"]
    assert broken.read(1)["status"] == "open"
    assert "crash" in run


def test_start_after_the_last_attempt_has_expired_grades_it(database):
    taker = take(time_limit_seconds=600, attempts_max=1)
    taker.start()
    taker.save(1, **RIGHT)
    overdue(database, taker, seconds=60)

    assert problem(taker.start()) == (409, "attempts_exhausted")

    assert (taker.read(1)["status"], taker.state()["open_attempt"]) == ("expired", None)
    assert taker.person.get(taker.course.page).json["progress"]["percent"] == 100


def test_attempt_in_one_step_after_an_expired_one_grades_that(database):
    taker = take(time_limit_seconds=600)
    taker.start()
    taker.save(1, **RIGHT)
    overdue(database, taker, seconds=60)

    assert problem(taker.person.send("POST", taker.path, {"answers": {}})) == (409, "attempt_expired")

    assert (taker.read(1)["status"], taker.read(1)["passed"]) == ("expired", True)
    assert taker.person.get(taker.course.page).json["progress"]["percent"] == 100


def test_start_after_an_expired_attempt_grades_it_and_starts_the_next(database):
    taker = take(time_limit_seconds=600)
    taker.start()
    overdue(database, taker, seconds=60)

    assert taker.start().json["attempt"] == 2
    assert taker.read(1)["status"] == "expired"


def test_open_attempt_is_graded_by_the_version_in_which_it_was_started():
    taker = take(attempts_max=3, show_answers="after_attempt")
    started = taker.start().json
    other = {"id": "other", "kind": "true_false", "text": "Other?", "correct": ["false"]}
    change_quiz(taker.course, content=quiz(other, attempts_max=3)["content"])
    assert taker.person.send("POST", f"{taker.course.page}/upgrade").status_code == 200

    assert taker.start().json["questions"] == started["questions"]
    graded = taker.submit(1, **RIGHT).json
    assert (graded["course_version"], graded["score_percent"], graded["answers_shown"]) == (1, 100, True)
    following = taker.start().json
    assert (following["course_version"], [each["id"] for each in following["questions"]]) == (2, ["other"])


@pytest.mark.parametrize("removed", [False, True])
def test_open_attempt_ends_well_after_its_lesson_became_a_text_or_was_removed(removed):
    taker = take(time_limit_seconds=600)
    taker.start()
    with session_factory("courses").begin() as session:
        section_id = str(Course.get(session, str(taker.course.id), outline=True).sections[0].id)
        make_lesson(session, taker.course.id, section_id, taker.course.author)
    if removed:
        taker.course.remove(taker.course.lessons[-1])
    else:
        change_quiz(taker.course, kind="text", content={"body": "Words."}, completion={"rule": "manual"})
    taker.person.send("POST", f"{taker.course.page}/upgrade")

    assert taker.save(1, moon=["true"]).status_code == 200
    graded = taker.submit(1, **RIGHT)

    assert (graded.status_code, graded.json["score_percent"]) == (201, 100)
    assert taker.read(1)["questions"][0]["text"] == "Capital?"
    page = taker.person.get(taker.course.page)
    assert (page.status_code, page.json["progress"]["percent"]) == (
        200,
        0,
    )  # this version has no quiz


def every_answer(taker: Taker, *responses: Any) -> str:
    """Return everything that the learner can read of the course, and ``responses``, as one text."""
    paths = (
        taker.lesson,
        f"{taker.lesson}/quiz",
        taker.path,
        f"{taker.path}/1",
        f"{taker.path}/2",
        taker.course.path,
        taker.course.page,
        "/v1/me/courses",
        f"{taker.course.path}/progress",
        f"/v1/courses?q={taker.course.id}",
    )
    read = [taker.person.get(path).get_data(as_text=True) for path in paths]
    sent = [each.get_data(as_text=True) for each in responses]
    return json.dumps([*read, *sent], ensure_ascii=False).replace("\\", "").lower()


def leaked(text: str) -> list[str]:
    return [each for each in SECRETS if each in text]


WRONG = {"capital": ["Rome"], "count": ["1"], "moon": ["false"], "parts": ["a"]}


def test_correct_answers_are_in_no_response_event_or_export(database):
    taker = take()
    asked = taker.start()
    errors = [taker.submit(1, moon=["perhaps"]), taker.submit(1, count=["1", "2"]), taker.submit(1, none=["a"])]
    versions = taker.person.get(f"{taker.course.path}/versions")
    working_copy = taker.person.get(f"{taker.course.path}/outline")
    before = every_answer(taker, asked, *errors, versions, working_copy)
    graded = taker.submit(1, **WRONG)

    assert leaked(before) == []
    assert leaked(every_answer(taker, graded)) == []
    course_id = str(taker.course.id)
    events = database.rows("SELECT payload::text FROM bus.outbox WHERE payload->>'course_id' = :id", id=course_id)
    assert leaked(str(events).lower()) == []
    with session_factory("courses").begin() as session:
        exported = QuizAttempt.list_for_user(session, taker.id)
    assert (exported[0]["score_percent"], leaked(str(exported).lower())) == (0, [])


def test_anonymous_reader_of_a_free_preview_sees_no_answers():
    course = PublishedCourse({**quiz(), "free_preview": True}, lessons=0, sequential=False)
    shown = gateway().test_client().get(f"{course.path}/lessons/{course.lessons[-1]}")

    assert shown.status_code == 200
    assert len(shown.json["content"]["questions"]) == 4
    assert leaked(shown.get_data(as_text=True).lower()) == []


@pytest.mark.parametrize(
    ("policy", "attempts_max", "answers", "shown"),
    [
        ("never", 1, RIGHT, [False]),
        ("after_attempt", None, WRONG, [True]),
        ("after_passing", None, WRONG, [False]),
        ("after_passing", None, RIGHT, [True]),
        ("after_last_attempt", None, RIGHT, [False]),
        ("after_last_attempt", 2, WRONG, [False, True]),
    ],
)
def test_correct_answers_are_shown_when_the_author_allows_it(policy, attempts_max, answers, shown):
    taker = take(show_answers=policy, attempts_max=attempts_max)

    for number, expected in enumerate(shown, start=1):
        opened = taker.start()
        # While an attempt is open, neither it nor an earlier one shows an answer, except after each attempt.
        assert leaked(every_answer(taker, opened)) == []
        graded = taker.submit(number, **answers)
        assert graded.json["answers_shown"] is expected
        assert ("result" in graded.json["questions"][2]) is expected
    if shown[-1]:
        results = {each["id"]: each["result"] for each in taker.read(1)["questions"]}
        assert results["moon"]["explanation"] == SECRET
        assert (results["count"]["correct"], results["count"]["tolerance"]) == (["42.17"], "0.009")
        assert results["parts"]["points"] == (1 if answers is RIGHT else 0)


def test_first_attempt_shows_no_answers_while_the_last_one_is_open():
    taker = take(show_answers="after_last_attempt", attempts_max=2)
    taker.start()
    taker.submit(1, **WRONG)
    taker.start()

    assert (taker.state()["attempts_left"], taker.read(1)["answers_shown"]) == (0, False)
    taker.submit(2, **WRONG)
    assert taker.read(1)["answers_shown"] is True


def test_review_and_grading_see_what_the_learner_saw():
    options = [{"id": each, "text": each} for each in "abcdefgh"]
    pooled = [
        {"id": f"q{number}", "kind": "choice", "text": "?", "options": options, "correct": ["a"], "pool": "p"}
        for number in range(8)
    ]
    rules = {"shuffle_questions": True, "shuffle_options": True, "pools": [{"id": "p", "draw": 3}]}
    taker = Taker(PublishedCourse(quiz(*pooled, **rules, show_answers="after_attempt"), lessons=0, sequential=False))

    asked = taker.start().json["questions"]
    taker.submit(1, **{each["id"]: ["a"] for each in asked[:2]})

    reviewed = taker.read(1)
    assert (reviewed["score_percent"], len(asked), taker.state()["questions_total"]) == (66, 3, 3)
    assert [{**each, "result": None} for each in asked] == [{**each, "result": None} for each in reviewed["questions"]]
    assert [each["result"]["points"] for each in reviewed["questions"]] == [1, 1, 0]


def test_attempt_belongs_to_its_learner_and_its_course():
    taker = take()
    taker.start()
    other = Taker(taker.course)
    stranger = Person(taker.person.client)

    assert problem(other.person.get(f"{taker.path}/1")) == (404, "not_found")
    assert problem(other.submit(1, **RIGHT)) == (404, "not_found")
    for response in (stranger.get(f"{taker.path}/1"), stranger.send("POST", f"{taker.path}/start")):
        assert problem(response) == (403, "not_enrolled")
    assert problem(stranger.send("POST", f"{taker.path}/1/submission", {"answers": RIGHT})) == (403, "not_enrolled")
    assert problem(taker.person.get(f"{taker.path}/{10**30}")) == (404, "not_found")
    elsewhere = Taker(PublishedCourse(quiz(), lessons=0, sequential=False))
    taker.person.send("POST", f"{elsewhere.course.path}/enrollments")
    crossed = f"{elsewhere.course.path}/lessons/{taker.course.lessons[-1]}/attempts/1"
    assert problem(taker.person.get(crossed)) == (404, "not_found")


def test_locked_quiz_cannot_be_started():
    taker = Taker(PublishedCourse(quiz(attempts_max=1), lessons=1, sequential=True))

    assert problem(taker.start()) == (409, "lesson_locked")
    assert problem(taker.person.get(f"{taker.lesson}/quiz")) == (409, "lesson_locked")


def test_attempts_and_extra_attempts_are_erased_with_their_learner(database):
    taker = take(attempts_max=1)
    taker.start()
    staff = Person(taker.person.client, permissions=("courses:write", "courses:admin"))
    staff.send("POST", f"{taker.lesson}/extra-attempts", {"user_id": taker.id})

    event = build_event(UserDeleted, user_id=taker.id)
    deliver("courses.erase_data", {"event": event}, event_id=uuid4())

    of_user = "WHERE user_id = :user"
    for rows in ("SELECT 1 FROM courses.quiz_attempts", "SELECT 1 FROM courses.quiz_extra_attempts"):
        assert database.rows(f"{rows} {of_user}", user=taker.id) == []
