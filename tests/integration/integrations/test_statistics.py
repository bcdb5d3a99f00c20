"""Statistics of courses and of the shop: the same from the events in any order and however often they arrive."""

import csv
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy.orm import Session

import settings
from core.cache import cache_redis
from core.db import new_id, session_factory
from models.events import (
    CourseCompleted,
    CourseRated,
    EnrollmentCreated,
    Event,
    LessonCompleted,
    LessonReopened,
    PaymentRefunded,
    PaymentSucceeded,
    QuizAttempted,
    RatingRemoved,
    RefundReversed,
    UserDeleted,
)
from models.integrations.facts import Fact, facts_of
from tests.integration.courses.factories import make_course
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens
from tests.support.polling import eventually
from workers.integrations import statistics
from workers.runtime.projections import PROJECTIONS

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(days=1)
COURSE, LESSONS = uuid4(), [uuid4(), uuid4()]

Versioned = tuple[Event, int]


def history() -> list[Versioned]:
    """Return the events of two learners in one course, each with the version of its aggregate."""
    ann, bob = uuid4(), uuid4()

    def built(kind: type, user_id: UUID, **fields: Any) -> Any:
        return build_event(kind, user_id=user_id, course_id=COURSE, **fields)

    enrollment = built(EnrollmentCreated, ann, enrolled_at=MONDAY)
    sale = {"order_id": uuid4(), "currency": "EUR", "course_ids": [COURSE]}
    refund = sale | {"refund_id": uuid4(), "amount_minor": 900}
    quiz = {"lesson_id": LESSONS[1]}
    return [
        (enrollment, 1),
        (enrollment, 3),  # access was restored
        (built(EnrollmentCreated, bob, enrolled_at=TUESDAY), 1),
        (built(LessonCompleted, ann, lesson_id=LESSONS[0], completed_at=MONDAY), 2),
        (built(LessonReopened, ann, lesson_id=LESSONS[0], reopened_at=MONDAY), 3),
        (built(LessonCompleted, ann, lesson_id=LESSONS[0], completed_at=TUESDAY), 4),
        (built(LessonCompleted, ann, lesson_id=LESSONS[1], completed_at=TUESDAY), 5),
        (built(CourseCompleted, ann, started_at=MONDAY, completed_at=TUESDAY), 6),
        (built(LessonCompleted, bob, lesson_id=LESSONS[0], completed_at=TUESDAY), 2),
        (built(QuizAttempted, ann, **quiz, attempt=1, score_percent=40, attempted_at=MONDAY), 4),
        (built(QuizAttempted, ann, **quiz, attempt=2, score_percent=80, passed=True, attempted_at=TUESDAY), 5),
        (built(CourseRated, ann, rating=2, rated_at=MONDAY), 6),
        (built(CourseRated, ann, rating=5, rated_at=TUESDAY), 7),
        (built(CourseRated, bob, rating=1, rated_at=MONDAY), 3),
        (built(RatingRemoved, bob, removed_at=TUESDAY), 4),
        (build_event(PaymentSucceeded, **sale, amount_minor=4900, paid_at=MONDAY), 2),
        (build_event(PaymentRefunded, **refund, refunded_at=TUESDAY), 3),
        (build_event(RefundReversed, **refund, reversed_at=TUESDAY), 4),
        (build_event(PaymentRefunded, **refund | {"refund_id": uuid4()}, refunded_at=TUESDAY), 5),
    ]


def apply(events: list[Versioned]) -> None:
    with session_factory("integrations").begin() as session:
        for event, version in events:
            Fact.apply(session, facts_of(event, version=version))


def log(event: Event, *, version: int = 1) -> dict[str, Any]:
    """Append an event to the log; return its message, to send it again."""
    headers = {
        "ce_type": event.type,
        "ce_source": "tests",
        "ce_subject": str(uuid4()),
        "ce_sequence": str(version),
        "ce_time": datetime.now(UTC).isoformat(),
        "ce_dataschema": "schema",
    }
    message = {"event_id": new_id(), "event_headers": headers}
    assert "result" in deliver("integrations.append_event_to_log", {"event": event}, **message)
    return {"event": event, **message}


def sums(database: Database) -> list[tuple[Any, ...]]:
    return database.rows(
        "SELECT course_id, lesson_id, metric, currency, day::text, value FROM integrations.statistics "
        "WHERE value <> 0 ORDER BY 1, 2, 3, 4, 5"
    )


def shown(**period: datetime) -> dict[str, Any]:
    days = {"since": MONDAY.date(), "until": TUESDAY.date()} | {name: each.date() for name, each in period.items()}
    return dict(deliver("integrations.show_course_statistics", {"course_id": COURSE, **days})["result"])


def test_sums_of_a_course_by_day_and_in_total(database: Database):
    apply(history())

    counted = shown()

    assert [day["counts"] for day in counted["days"]] == [
        {"enrollment": 1, "active": 1},
        {
            "enrollment": 1,
            "active": 2,
            "lesson": 3,
            "completion": 1,
            "completion_value": 86400,
            "rating": 1,
            "rating_value": 5,
        },
    ]
    assert [day["money"] for day in counted["days"]] == [
        {"EUR": {"sale": 1, "sale_value": 4900}},
        {"EUR": {"refund": 1, "refund_value": 900}},
    ]
    assert counted["totals"] | {"active": 3} == {
        "enrollment": 2,
        "active": 3,
        "lesson": 3,
        "completion": 1,
        "completion_value": 86400,
        "rating": 1,
        "rating_value": 5,
    }
    assert counted["lessons"] == {
        str(LESSONS[0]): {"lesson": 2},
        str(LESSONS[1]): {"lesson": 1, "attempt": 2, "attempt_value": 120, "pass": 1, "pass_value": 80},
    }


def test_sums_are_equal_in_any_order_and_after_repetitions(database: Database):
    events = history()
    apply(events)
    expected = sums(database)

    for number, order in enumerate((events[::-1], events[1::2] + events[::2], [*events, *events[::-1]])):
        database.execute("DELETE FROM integrations.facts")
        assert sums(database) == [], number
        apply(order)
        assert sums(database) == expected, number


def test_completions_and_reopenings_of_a_lesson_commute(database: Database):
    events = [each for each in history() if isinstance(each[0], LessonCompleted | LessonReopened)][:3]
    results = set()
    for order in permutations(events):
        database.execute("DELETE FROM integrations.facts")
        apply(list(order))
        results.add(tuple(row[2:] for row in sums(database) if row[2] == "lesson"))

    assert len(results) == 1


def test_each_event_of_the_log_counts_once(database: Database, monkeypatch):
    monkeypatch.setattr(statistics, "PAGE_SIZE", 2)
    messages = [log(build_event(EnrollmentCreated, course_id=COURSE, enrolled_at=MONDAY)) for _ in range(3)]
    messages.append(log(build_event(LessonCompleted, course_id=COURSE, lesson_id=LESSONS[0], completed_at=MONDAY)))

    for _ in range(2):
        database.execute("DELETE FROM bus.jobs WHERE kind = 'integrations.count_events'")
        assert "result" in deliver("integrations.count_events")
        for message in messages:
            deliver(
                "integrations.append_event_to_log",
                {"event": message["event"]},
                event_id=message["event_id"],
                event_headers=message["event_headers"],
            )

    totals = shown()["totals"]
    assert (totals["enrollment"], totals["lesson"]) == (3, 1)


def test_page_that_fails_is_counted_as_a_whole_later(database: Database, monkeypatch):
    for _ in range(3):
        log(build_event(EnrollmentCreated, course_id=COURSE, enrolled_at=MONDAY))
    with monkeypatch.context() as patch:
        patch.setattr(Fact, "apply", _store_and_fail(Fact.apply))
        assert "crash" in deliver("integrations.count_events")
    before = sums(database)
    with session_factory("integrations").begin() as session:
        statistics.count_page(session)

    assert (before, shown()["totals"]["enrollment"]) == ([], 3)


def _store_and_fail(store: Any) -> Any:
    def fail(session: Any, facts: Any) -> None:
        store(session, facts)
        raise OSError("the worker is killed")

    return fail


def test_erased_user_no_longer_counts(database: Database):
    events = history()
    apply(events)
    ann = events[0][0].user_id
    with session_factory("integrations").begin() as session:
        Fact.erase(session, ann)
    database.execute(
        "INSERT INTO bus.data_subjects (service, user_id, version, erased_at) VALUES ('integrations', :id, 1, now())",
        id=ann,
    )
    apply(events)  # events that arrive late

    counted = shown()
    assert (counted["totals"]["enrollment"], counted["lessons"]) == (1, {str(LESSONS[0]): {"lesson": 1}})
    assert counted["money"]["EUR"]["sale_value"] == 4900  # the money stays
    assert database.value("SELECT count(*) FROM integrations.facts WHERE user_id = :id", id=ann) == 0


def count(session: Session, _: EnrollmentCreated) -> None:
    statistics.count_page(session)


def rebuild(session: Session, event: EnrollmentCreated) -> None:
    stored = [(EnrollmentCreated, msgspec.to_builtins(event), 1)]
    PROJECTIONS["integrations.enrollment_facts"].rebuild(session, str(event.enrollment_id), stored)


@pytest.mark.parametrize("store_facts", [count, rebuild])
def test_erasure_waits_for_facts_that_are_being_stored(database: Database, store_facts):
    enrollment = build_event(EnrollmentCreated, enrolled_at=MONDAY)
    log(enrollment)
    deleted = {"event": build_event(UserDeleted, user_id=enrollment.user_id)}
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"

    with ThreadPoolExecutor(1) as pool:
        with session_factory("integrations").begin() as session:
            store_facts(session, enrollment)
            erasing = pool.submit(deliver, "integrations.erase_data", deleted, event_id=new_id(), event_headers={})
            eventually(lambda: erasing.done() or database.value(waiting))
        assert "result" in erasing.result()

    assert database.value("SELECT count(*) FROM integrations.facts") == 0


def test_entry_that_cannot_be_decoded_is_left_out(database: Database):
    for _ in range(2):
        log(build_event(EnrollmentCreated, course_id=COURSE, enrolled_at=MONDAY))
    database.execute(
        "UPDATE integrations.events SET data = '{}' WHERE position = (SELECT min(position) FROM integrations.events)"
    )

    with session_factory("integrations").begin() as session:
        statistics.count_page(session)

    assert shown()["totals"]["enrollment"] == 1


def test_bundle_is_shared_among_its_courses_to_the_last_cent(database: Database):
    courses = sorted(uuid4() for _ in range(3))
    bundle = {"currency": "EUR", "amount_minor": 1000, "course_ids": courses}
    apply([(build_event(PaymentSucceeded, **bundle, paid_at=MONDAY), 1)])

    shares = database.rows(
        "SELECT value FROM integrations.statistics WHERE metric = 'sale_value' AND day = '-infinity' "
        "AND course_id <> :shop ORDER BY value",
        shop=UUID(int=0),
    )
    assert [share for (share,) in shares] == [333, 333, 334]


@pytest.fixture
def author(database: Database, monkeypatch) -> Iterator[Person]:
    trust_test_tokens(monkeypatch)
    monkeypatch.setattr(settings, "AUTH0_SYNC_ENABLED", False)
    cache_redis().flushdb()
    with running_worker("courses", "users", "integrations"):
        yield Person(gateway().test_client(), email=f"{uuid4().hex}@example.com", permissions=("courses:write",))


def test_author_gets_charts_and_csv_and_others_nothing(author: Person):
    with session_factory("courses").begin() as session:
        course = make_course(session, lessons=2)
        course.instructor_id = UUID(author.get("/v1/me").json["id"])
        lessons = [str(lesson.id) for lesson in course.lessons()]
    ids = {"course_id": course.id}
    sale = {"currency": "EUR", "course_ids": [course.id], "amount_minor": 4900}
    apply(
        [
            (build_event(EnrollmentCreated, **ids, enrolled_at=MONDAY), 1),
            (build_event(EnrollmentCreated, **ids, enrolled_at=MONDAY), 1),
            (build_event(LessonCompleted, **ids, lesson_id=UUID(lessons[0]), completed_at=TUESDAY), 1),
            (build_event(PaymentSucceeded, **sale, paid_at=MONDAY), 1),
        ]
    )
    path = f"/v1/courses/{course.id}/statistics?since=2026-03-01&until=2026-03-03"
    staff = Person(author.client, email=f"{uuid4().hex}@example.com", permissions=("payments:read",))
    other = Person(author.client, email=f"{uuid4().hex}@example.com", permissions=("courses:write",))

    answer = author.get(path).json
    table = list(csv.DictReader(io.StringIO(author.get(path, Accept="text/csv").text)))
    shop = staff.get("/v1/statistics?since=2026-03-01&until=2026-03-03").json

    assert [day["enrollments"] for day in answer["days"]] == [0, 2, 0]
    assert [(each["lesson_id"], each["completed"], each["completed_percent"]) for each in answer["lessons"]] == [
        (lessons[0], 1, 50),
        (lessons[1], 0, 0),
    ]
    assert answer["revenue"][0]["revenue_minor"] == 4900
    assert [row["day"] for row in table] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert (table[1]["enrollments"], table[1]["revenue_minor_EUR"], table[2]["active_learners"]) == ("2", "4900", "1")
    assert shop["revenue"] == answer["revenue"]
    assert problem(other.get(path)) == (404, "not_found")
    assert problem(author.get("/v1/statistics")) == (403, "insufficient_permission")
    assert problem(author.get(path, Accept="image/png")) == (406, "not_acceptable")
    for invalid in ("since=2026-03-04&until=2026-03-03", "since=2020-01-01&until=2026-03-03", "since=x", "days=3"):
        assert author.get(f"/v1/courses/{course.id}/statistics?{invalid}").status_code == 422
