"""Lists of addresses to enroll and unenroll: each row once, with its result; unknown addresses are invited."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.courses.enrollment_batches import ROWS_MAX
from core.db import session_factory, utc_now
from models.courses.course import Course
from models.events import Person as PersonalData
from models.events import UserDeleted, UserUpdated
from tests.integration.courses.factories import make_course, purchase_of
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens
from workers.courses import enrollment_batches
from workers.courses.access import grant_access
from workers.courses.enrollment_batches import update_address
from workers.courses.learning import enroll_user_as_admin
from workers.courses.personal_data import erase_data

JOB = "courses.run_enrollment_batches"


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    with running_worker("courses", "users"):
        yield


@pytest.fixture
def author(database: Database, monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    return Person(gateway().test_client(), email=f"{uuid4().hex}@example.com", permissions=("courses:write",))


@pytest.fixture
def staff(author: Person) -> Person:
    permissions = ("courses:write", "courses:admin")
    return Person(author.client, email=f"{uuid4().hex}@example.com", permissions=permissions)


@pytest.fixture
def course(author: Person) -> Course:
    return make(author)


def make(author: Person, amount_minor: int = 0) -> Course:
    with session_factory("courses").begin() as session:
        course = make_course(session, price={"amount_minor": amount_minor, "currency": "USD"})
        course.instructor_id = UUID(author.get("/v1/me").json["id"])
        return course


def register(email: str, *, verified: bool = True, user_id: UUID | None = None, version: int = 2) -> UUID:
    """Deliver the event of a user with this address."""
    user_id = user_id or uuid4()
    person = PersonalData(email=email, name="Ann", email_verified=verified)
    with session_factory("courses").begin() as session:
        update_address(session, event=build_event(UserUpdated, user_id=user_id, version=version, pii=person))
    return user_id


def send(person: Person, course: Course, **fields: Any) -> Any:
    return person.send("POST", f"/v1/courses/{course.id}/enrollment-batches", fields, Idempotency_Key=uuid4().hex)


def run(database: Database) -> dict[str, Any]:
    database.execute("DELETE FROM bus.jobs WHERE kind = :job", job=JOB)
    return deliver(JOB)


def path_of(course: Course, sent: Any) -> str:
    """Return the path of a batch, which has the UUID of its operation."""
    return f"/v1/courses/{course.id}/enrollment-batches/{sent.json['id'].removeprefix('courses-')}"


def results(person: Person, course: Course, sent: Any, **query: str) -> dict[int, str]:
    path = f"{path_of(course, sent)}/rows?limit=100"
    items = person.get(path + "".join(f"&{name}={value}" for name, value in query.items())).json["items"]
    return {item["line"]: item["result"] for item in items}


def enrolled(database: Database, course: Course) -> list[str]:
    """Return the users of all events that say that access to a course begins."""
    rows = database.rows(
        "SELECT payload->>'user_id' FROM bus.outbox WHERE type = 'ENROLLMENT_CREATED' AND payload->>'course_id' = :id",
        id=str(course.id),
    )
    return sorted(user_id for (user_id,) in rows)


def test_each_row_of_csv_has_a_result_by_its_line(author, course, database):
    ann, bob = register("Ann@example.com"), register("bob@example.com")
    with session_factory("courses").begin() as session:
        enroll_user_as_admin(session, user_id=bob, course_id=course.id, granted_by=uuid4())
    csv = 'name,E-mail\n"Ann,\nthe first",ann@Example.com\n\nBob,bob@example.com\n'
    csv += "Ann,ANN@example.com\n-,bob@example.com;ann\nNew,new@example.com\n"

    sent = send(author, course, csv=csv)
    assert (sent.status_code, sent.json["status"]) == (202, "running")
    assert author.get(path_of(course, sent)).json["rows_done"] == 2
    assert "result" in run(database)

    assert results(author, course, sent) == {
        3: "enrolled",
        5: "already_enrolled",
        6: "duplicate",
        7: "email_invalid",
        8: "invited",
    }
    operation = author.get(sent.headers["Location"]).json
    assert (operation["status"], operation["result"]["rows_done"]) == ("succeeded", 5)
    assert operation["result"]["counts"] == dict.fromkeys(results(author, course, sent).values(), 1)
    assert results(author, course, sent, result="invited") == {8: "invited"}
    assert enrolled(database, course) == sorted(map(str, (ann, bob)))


@pytest.mark.parametrize("csv", ["\ufeffemail;name\n{};Ann\n", "name\temail\nAnn\t{}\n", "{}, Ann\n", "{}"])
def test_csv_of_spreadsheets_is_read(author, course, database, csv):
    register("ann@example.com")

    sent = send(author, course, csv=csv.format("ann@example.com"))
    run(database)

    assert set(results(author, course, sent).values()) == {"enrolled"}


def test_each_row_is_executed_once_after_a_killed_worker(author, course, database, monkeypatch):
    monkeypatch.setattr(enrollment_batches, "PAGE_SIZE", 2)
    people = {f"{number}@example.com": register(f"{number}@example.com") for number in range(5)}
    sent = send(author, course, emails=list(people))
    grant, calls = enrollment_batches.grant_by_staff, []

    def die_in_the_second_page(*args: Any, **fields: Any) -> None:
        grant(*args, **fields)
        calls.append(1)
        if len(calls) == 4:
            raise OSError("the worker is killed")

    monkeypatch.setattr(enrollment_batches, "grant_by_staff", die_in_the_second_page)
    assert "crash" in run(database)
    assert author.get(path_of(course, sent)).json["counts"] == {"enrolled": 2}
    assert len(enrolled(database, course)) == 2
    assert "result" in run(database)

    assert results(author, course, sent) == dict.fromkeys(range(1, 6), "enrolled")
    assert author.get(sent.headers["Location"]).json["result"]["counts"] == {"enrolled": 5}
    assert enrolled(database, course) == sorted(map(str, people.values()))


def test_invitation_takes_effect_when_the_address_is_verified(author, course, database):
    ends_at = utc_now() + timedelta(days=9)
    sent = send(author, course, emails=["new@example.com", "lost@example.com"], ends_at=ends_at.isoformat())
    run(database)
    again = send(author, course, emails=["new@example.com"])
    run(database)
    withdrawn = send(author, course, emails=["lost@example.com", "unknown@example.com"], action="unenroll")
    run(database)

    user_id = register("new@example.com", verified=False)
    assert enrolled(database, course) == []
    for _ in range(2):
        register("NEW@example.com", user_id=user_id, version=3)
    register("lost@example.com")

    assert enrolled(database, course) == [str(user_id)]
    assert database.value("SELECT ends_at FROM courses.grants WHERE user_id = :id", id=user_id) == ends_at
    assert results(author, course, sent) == {1: "invited", 2: "invited"}
    assert results(author, course, again) == {1: "already_invited"}
    assert results(author, course, withdrawn) == {1: "invitation_withdrawn", 2: "not_enrolled"}


def test_invitation_of_an_address_that_was_verified_at_the_same_moment_takes_effect(author, course, database):
    send(author, course, emails=["quick@example.com"])
    run(database)
    user_id = uuid4()
    database.execute(  # the event was handled by a transaction that did not see the invitation
        "INSERT INTO courses.addresses (user_id, version, email, verified) VALUES (:id, 2, 'quick@example.com', true)",
        id=user_id,
    )

    run(database)

    assert enrolled(database, course) == [str(user_id)]


def test_unenrolling_ends_what_was_not_bought(author, staff, database):
    course = make(author, amount_minor=900)
    given, bought, neither = (register(f"{name}@example.com") for name in ("given", "bought", "neither"))
    with session_factory("courses").begin() as session:
        enroll_user_as_admin(session, user_id=given, course_id=course.id, granted_by=uuid4())
        grant_access(session, event=purchase_of(course, user_id=bought))

    emails = ["given@example.com", "bought@example.com", "neither@example.com"]
    sent = send(staff, course, emails=emails, action="unenroll")
    run(database)

    assert results(staff, course, sent) == {1: "unenrolled", 2: "access_purchased", 3: "not_enrolled"}
    assert str(neither) not in enrolled(database, course)


def test_instructors_enroll_in_free_courses_and_staff_in_any(author, staff, course, database):
    paid = make(author, amount_minor=900)
    other = Person(author.client, email=f"{uuid4().hex}@example.com", permissions=("courses:write",))
    learner = Person(author.client, email=f"{uuid4().hex}@example.com")
    emails = ["ann@example.com"]

    assert problem(send(author, paid, emails=emails)) == (403, "insufficient_permission")
    assert problem(send(other, course, emails=emails)) == (404, "not_found")
    assert problem(send(learner, course, emails=emails)) == (403, "insufficient_permission")
    assert send(staff, paid, emails=emails).status_code == 202
    assert problem(other.get(f"/v1/courses/{course.id}/enrollment-batches")) == (404, "not_found")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"emails": []},
        {"emails": ["a@b.cd"], "csv": "a@b.cd"},
        {"emails": [f"{number}@b.cd" for number in range(ROWS_MAX + 1)]},
        {"emails": ["a@b.cd", "a@b.cd"]},
        {"csv": "a@b.cd\n" * (ROWS_MAX + 1)},
        {"csv": "email\n\n"},
        {"csv": 'email\n"' + "x" * 140_000},
        {"emails": ["a@b.cd"], "ends_at": "2001-01-01T00:00:00Z"},
        {"emails": ["a@b.cd"], "action": "unenroll", "ends_at": "2040-01-01T00:00:00Z"},
        {"emails": ["a@b.cd"], "action": "remove"},
        {"emails": ["a@b.cd"], "notify": True},
    ],
)
def test_malformed_lists_are_refused(author, course, fields):
    assert send(author, course, **fields).status_code == 422


def test_repeated_request_stores_one_batch_and_a_course_has_few_open_ones(author, course):
    path, body = f"/v1/courses/{course.id}/enrollment-batches", {"emails": ["ann@example.com"]}
    first, second = (author.send("POST", path, body, Idempotency_Key="one") for _ in range(2))
    send(author, course, **body)
    send(author, course, **body)

    assert first.json == second.json
    assert len(author.get(path).json["items"]) == 3
    assert problem(send(author, course, **body)) == (409, "enrollment_batches_open")
    assert author.get(path_of(course, first)).json["rows_total"] == 1


def test_erasure_removes_address_from_lists_and_invitations(author, course, database):
    user_id = register("gone@example.com", verified=False)
    sent = send(author, course, emails=["gone@example.com"])
    run(database)

    with session_factory("courses").begin() as session:
        erase_data(session, event=build_event(UserDeleted, user_id=user_id))
    register("gone@example.com", user_id=user_id, version=9)

    assert author.get(f"{path_of(course, sent)}/rows").json["items"] == [
        {"line": 1, "email": None, "result": "invited"}
    ]
    assert database.rows("SELECT 1 FROM courses.invitations UNION ALL SELECT 1 FROM courses.addresses") == []
    assert enrolled(database, course) == []
