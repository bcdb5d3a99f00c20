"""Access with an end, over HTTP and while no event between the services is delivered."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from core.cache import cache_redis
from core.db import session_factory, utc_now
from models.courses.course import Course
from models.events import PaymentRefunded
from tests.integration.courses.factories import purchase_of
from tests.integration.courses.test_learner_courses import FREE, PublishedCourse
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens
from tests.support.polling import eventually
from workers.courses.access import grant_access, revoke_access_on_refund

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    with running_worker("users", "courses", "progress", "payments"):
        yield


@pytest.fixture
def learner(database: Database, monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    cache_redis().flushdb()
    return Person(gateway().test_client())


@pytest.fixture
def staff(learner: Person) -> Person:
    return Person(learner.client, permissions=("courses:admin", "courses:write"))


@pytest.fixture
def course(learner: Person) -> PublishedCourse:
    return PublishedCourse(price={**FREE, "amount_minor": 900})


def id_of(person: Person) -> UUID:
    return UUID(person.get("/v1/me").json["id"])


def grant(staff: Person, learner: Person, course: PublishedCourse, ends_at: datetime | None) -> Any:
    body = {"course_id": str(course.id), "ends_at": ends_at and ends_at.isoformat()}
    return staff.send("POST", f"/v1/users/{id_of(learner)}/access", body)


def change_end(staff: Person, learner: Person, course: PublishedCourse, ends_at: datetime | None, tag: str = "") -> Any:
    path = f"{course.path}/learners/{id_of(learner)}"
    tag = tag or staff.get(path).headers["ETag"]
    return staff.send("PATCH", path, {"ends_at": ends_at and ends_at.isoformat()}, If_Match=tag)


def let_pass(database: Database, time: timedelta) -> None:
    """Move all times of the enrollments, grants and progress into the past; cached pages do not know."""
    columns = {
        "courses.grants": ("starts_at", "ends_at", "agreed_ends_at"),
        "courses.enrollments": ("enrolled_at", "access_ends_at", "end_notice_at"),
        "progress.course_progress": ("started_at", "access_ends_at"),
    }
    for table, names in columns.items():
        changes = ", ".join(f"{name} = {name} - :time" for name in names)
        database.execute(f"UPDATE {table} SET {changes}", time=time)  # noqa: S608 our tables
    cache_redis().flushdb()


def sweep(database: Database) -> None:
    database.execute("DELETE FROM bus.jobs WHERE kind = 'courses.sweep_access_ends'")
    assert "result" in deliver("courses.sweep_access_ends")


def published(database: Database) -> list[tuple[str, str | None]]:
    """Return the types of the events about access, each with its reason or end, in their order."""
    rows = database.rows("SELECT type, payload FROM bus.outbox WHERE aggregatetype = 'courses' ORDER BY seq")
    wanted = {"ENROLLMENT_CREATED": "access_ends_at", "ACCESS_END_CHANGED": "ends_at", "ACCESS_ENDING": "ends_at"}
    about = {**wanted, "ENROLLMENT_ENDED": "reason"}
    return [(type_, payload[about[type_]]) for type_, payload in rows if type_ in about]


def text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def test_access_ends_with_its_end_and_extension_gives_it_back(learner, staff, course, database):
    first, second, _ = course.lessons
    ends_at = utc_now() + HOUR
    assert grant(staff, learner, course, ends_at).json["until"] == text(ends_at)
    assert learner.get(course.page).json["access"]["ends_at"] == text(ends_at)
    assert learner.send("PUT", f"{course.path}/lessons/{first}/completion").status_code == 200

    let_pass(database, 2 * HOUR)

    for method, path in (
        ("GET", course.page),
        ("GET", f"{course.path}/lessons/{first}"),
        ("PUT", f"{course.path}/lessons/{second}/completion"),
        ("PUT", f"{course.path}/lessons/{second}/position"),
    ):
        body = {"position_seconds": 1} if path.endswith("position") else None
        assert problem(learner.send(method, path, body)) == (403, "not_enrolled")
    explained = staff.get(f"/v1/users/{id_of(learner)}/access?course_id={course.id}").json
    assert (explained["access"], [reason["state"] for reason in explained["reasons"]]) == (False, ["expired"])
    [listed] = staff.get(f"{course.path}/learners?status=ended").json["items"]
    assert listed["user_id"] == str(id_of(learner))

    assert change_end(staff, learner, course, utc_now() + DAY).json["status"] == "active"

    assert learner.get(course.page).json["progress"]["percent"] == 33
    assert learner.send("PUT", f"{course.path}/lessons/{second}/completion").json["percent"] == 66


def test_cached_page_ends_with_access(learner, staff, course):
    ends_at = utc_now() + timedelta(seconds=2)
    grant(staff, learner, course, ends_at)
    assert learner.get(course.page).status_code == learner.get(course.page).status_code == 200

    eventually(lambda: learner.get(course.page).status_code == 403)

    assert ends_at <= utc_now() < ends_at + timedelta(seconds=10)


def test_learner_is_notified_once_for_each_end_and_end_is_published(learner, staff, course, database):
    first_end, second_end = utc_now() + DAY, utc_now() + 2 * DAY
    grant(staff, learner, course, first_end)
    for _ in range(2):
        sweep(database)
    change_end(staff, learner, course, second_end)
    for _ in range(2):
        sweep(database)
    let_pass(database, 3 * DAY)
    for _ in range(2):
        sweep(database)
    change_end(staff, learner, course, None)

    assert published(database) == [
        ("ENROLLMENT_CREATED", text(first_end)),
        ("ACCESS_ENDING", text(first_end)),
        ("ACCESS_END_CHANGED", text(second_end)),
        ("ACCESS_ENDING", text(second_end)),
        ("ENROLLMENT_ENDED", "expired"),
        ("ENROLLMENT_CREATED", None),
    ]
    [ended_at] = database.rows("SELECT payload->>'ended_at' FROM bus.outbox WHERE type = 'ENROLLMENT_ENDED'")[0]
    assert ended_at == text(second_end - 3 * DAY)


def test_extension_of_expired_access_publishes_its_end_first(learner, staff, course, database):
    grant(staff, learner, course, utc_now() + HOUR)
    let_pass(database, 2 * HOUR)

    extended = utc_now() + DAY
    grant(staff, learner, course, extended)
    sweep(database)

    assert [type_ for type_, _ in published(database)] == [
        *("ENROLLMENT_CREATED", "ENROLLMENT_ENDED", "ENROLLMENT_CREATED", "ACCESS_ENDING")
    ]


def test_purchase_removes_end_and_refund_sets_it_again(learner, staff, course, database):
    ends_at = utc_now() + 9 * DAY
    grant(staff, learner, course, ends_at)
    with session_factory("courses").begin() as session:
        purchase = purchase_of(Course.get(session, str(course.id)), user_id=id_of(learner))
        grant_access(session, event=purchase)
    with session_factory("courses").begin() as session:
        about = {"order_id": purchase.order_id, "user_id": purchase.user_id}
        refund = build_event(PaymentRefunded, **about, is_full_refund=True)
        revoke_access_on_refund(session, event=refund, event_version=2)

    end, none, again = published(database)
    assert end == ("ENROLLMENT_CREATED", text(ends_at))
    assert (none, again) == (("ACCESS_END_CHANGED", None), ("ACCESS_END_CHANGED", text(ends_at)))


def test_end_is_changed_by_owner_and_staff_for_the_version_they_know(learner, staff, course, database):
    end = utc_now() + DAY
    grant(staff, learner, course, end)
    owner, editor, other = (Person(learner.client, permissions=("courses:write",)) for _ in range(3))
    database.execute(
        "UPDATE courses.courses SET instructor_id = :owner, editor_ids = ARRAY[:editor]::uuid[] WHERE id = :id",
        owner=id_of(owner),
        editor=id_of(editor),
        id=course.id,
    )
    seen = editor.get(f"{course.path}/learners/{id_of(learner)}").headers["ETag"]

    assert problem(change_end(editor, learner, course, end, seen)) == (403, "not_course_owner")
    assert problem(change_end(other, learner, course, end, seen)) == (404, "not_found")
    assert problem(change_end(owner, learner, course, end, '"999"')) == (412, "precondition_failed")
    assert problem(change_end(owner, learner, course, utc_now() - HOUR)) == (422, "end_in_past")
    assert problem(change_end(owner, other, course, end, seen)) == (404, "not_found")
    assert change_end(owner, learner, course, end + DAY, seen).json["expires_at"] == text(end + DAY)
    assert problem(grant(staff, learner, course, utc_now() - HOUR)) == (422, "end_in_past")
    assert change_end(owner, learner, course, None).json["expires_at"] is None
    assert problem(change_end(owner, learner, course, end)) == (409, "access_has_no_end")


def test_what_was_sold_does_not_end_earlier(learner, staff, course, database):
    with session_factory("courses").begin() as session:
        grant_access(session, event=purchase_of(Course.get(session, str(course.id)), user_id=id_of(learner)))
    end = utc_now() + 9 * DAY
    database.execute("UPDATE courses.grants SET ends_at = :end, agreed_ends_at = :end", end=end)

    assert problem(change_end(staff, learner, course, end - DAY)) == (409, "access_sold_longer")
    assert change_end(staff, learner, course, end + DAY).json["expires_at"] == text(end + DAY)
