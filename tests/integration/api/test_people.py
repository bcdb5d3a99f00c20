"""What staff reads and changes about a person over HTTP: access with its reasons, learners, and the record of both."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from core.db import session_factory, utc_now
from models.commands.courses import Caller
from models.payments import Orders
from models.payments.quote import PurchaseQuote
from models.users import User
from tests.e2e.test_contract import PERMISSIONS
from tests.integration.api.test_policies import ROUTES
from tests.integration.courses.factories import make_course, purchase_of
from tests.integration.courses.test_refunds import refund_of
from tests.integration.users.factories import CachedEntries, creation_of
from tests.support.databases import Database
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens
from workers.courses.access import grant_access, revoke_access_on_refund
from workers.users.profiles import initialize_profile


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    with running_worker("users", "courses", "payments", "notifications"):
        yield


@pytest.fixture
def admin(monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    return Person(gateway().test_client(), email="admin@example.com", permissions=tuple(PERMISSIONS.split()))


@pytest.fixture
def learner_id(database: Database, admin: Person) -> UUID:
    person = Person(admin.client, email=f"{uuid4().hex}@example.com")
    user_id = UUID(person.get("/v1/me").json["id"])
    with session_factory("users").begin() as session:
        user = session.get_one(User, user_id)
        initialize_profile(session, CachedEntries(), event=creation_of(user, email=person.email, name="Ann"))
    return user_id


@pytest.fixture
def course_id() -> UUID:
    with session_factory("courses").begin() as session:
        return make_course(session).id


def states(admin: Person, learner_id: UUID, course_id: UUID) -> tuple[bool, list[tuple[str, str]]]:
    shown = admin.get(f"/v1/users/{learner_id}/access?course_id={course_id}").json
    return shown["access"], [(reason["kind"], reason["state"]) for reason in shown["reasons"]]


def change_access(admin: Person, learner_id: UUID, course_id: UUID, verb: str = ""):
    return admin.send("POST", f"/v1/users/{learner_id}/access{verb}", {"course_id": str(course_id)})


def test_staff_grants_revokes_and_grants_access_again(admin: Person, learner_id: UUID, course_id: UUID):
    assert states(admin, learner_id, course_id) == (False, [])
    assert problem(change_access(admin, learner_id, course_id, "/revoke")) == (404, "not_found")

    granted = change_access(admin, learner_id, course_id).json
    assert (granted["access"], granted["until"]) == (True, None)
    [reason] = granted["reasons"]
    assert (reason["kind"], reason["granted_by"]) == ("manual", admin.get("/v1/me").json["id"])
    assert reason["since"] == granted["since"]

    for _ in range(2):
        revoked = change_access(admin, learner_id, course_id, "/revoke").json
        assert (revoked["access"], revoked["since"]) == (False, None)
        assert states(admin, learner_id, course_id) == (False, [("manual", "revoked_by_staff")])
    assert change_access(admin, learner_id, course_id).json["access"]


def test_grant_by_staff_is_recorded_with_values_before_and_after(
    admin: Person, learner_id: UUID, course_id: UUID, database: Database
):
    change_access(admin, learner_id, course_id)
    change_access(admin, learner_id, course_id, "/revoke")

    granted, revoked = (
        {row["table"]: row for row in changes or []}
        for (changes,) in database.rows("SELECT changes FROM bus.staff_actions WHERE kind = 'change' ORDER BY id")
    )
    assert granted["courses.grants"]["before"] is None
    assert granted["courses.grants"]["after"].items() >= {"source": "manual", "status": "active"}.items()
    assert revoked["courses.grants"]["before"].items() >= {"status": "active", "reason": None}.items()
    assert revoked["courses.grants"]["after"].items() >= {"status": "revoked", "reason": "revoked_by_staff"}.items()


def test_recorded_change_hides_personal_data(admin: Person, learner_id: UUID, database: Database):
    etag = admin.get(f"/v1/users/{learner_id}").headers["ETag"]
    changed = admin.send("PATCH", f"/v1/users/{learner_id}", {"name": "Bob", "locale": "de"}, If_Match=etag)

    [row] = database.value("SELECT changes FROM bus.staff_actions WHERE task = 'users.change_profile'")
    assert changed.status_code == 200
    assert (row["table"], row["id"]) == ("users.users", str(learner_id))
    assert (row["before"]["name"], row["after"]["name"]) == ("(private)", "(private)")
    assert (row["before"]["locale"], row["after"]["locale"]) == ("en", "de")
    assert "Bob" not in str(row)


def test_access_that_was_bought_is_explained_and_not_revoked(admin: Person, learner_id: UUID):
    with session_factory("courses").begin() as session:
        course = make_course(session)
        purchase = purchase_of(course, user_id=learner_id)
        grant_access(session, event=purchase)

    assert states(admin, learner_id, course.id) == (True, [("order", "active")])
    assert problem(change_access(admin, learner_id, course.id, "/revoke")) == (409, "access_purchased")

    with session_factory("courses").begin() as session:
        revoke_access_on_refund(session, event=refund_of(purchase))
    assert states(admin, learner_id, course.id) == (False, [("order", "refunded")])


def test_unpaid_order_explains_missing_access(admin: Person, learner_id: UUID, course_id: UUID):
    quote = PurchaseQuote(title="A course", amount_minor=100, currency="EUR", courses={course_id: "A course"})
    with session_factory("payments").begin() as session:
        order, _ = Orders(session).get_or_create_pending(user_id=learner_id, quote=quote, at=utc_now())

    shown = admin.get(f"/v1/users/{learner_id}/access?course_id={course_id}").json
    [reason] = shown["reasons"]
    assert (shown["access"], reason["state"], reason["order_id"]) == (False, "payment_pending", str(order.id))
    assert [each["id"] for each in admin.get(f"/v1/users/{learner_id}/orders?status=pending").json["items"]] == [
        str(order.id)
    ]
    assert admin.get(f"/v1/users/{learner_id}/orders?status=paid").json["items"] == []


def test_learners_are_listed_for_author_and_staff(admin: Person, learner_id: UUID):
    author = Person(admin.client, permissions=("courses:write",))
    author_id = UUID(author.get("/v1/me").json["id"])
    with session_factory("courses").begin() as session:
        course = make_course(session, author=Caller(author_id))
        grant_access(session, event=purchase_of(course, user_id=learner_id))
        grant_access(session, event=(ended := purchase_of(course)))
        revoke_access_on_refund(session, event=refund_of(ended))
    path = f"/v1/courses/{course.id}/learners"

    [learner] = author.get(f"{path}?status=active").json["items"]
    assert (learner["user_id"], learner["name"], learner["email"]) == (str(learner_id), "Ann", None)
    assert (learner["progress_percent"], learner["lessons_completed"]) == (0, 0)
    [of_staff] = admin.get(f"{path}?status=active&progress_max=0").json["items"]
    assert of_staff["email"].endswith("@example.com")
    assert [each["user_id"] for each in author.get(f"{path}?status=ended").json["items"]] == [str(ended.user_id)]
    assert author.get(f"{path}?progress_min=1").json["items"] == []
    first = author.get(f"{path}?limit=1").json
    assert len(author.get(f"{path}?limit=1&cursor={first['next_cursor']}").json["items"]) == 1
    other = Person(admin.client, permissions=("courses:write",))
    assert problem(other.get(path)) == (404, "not_found")


LISTS = ["orders", "subscriptions", "enrollments", "notifications", "devices", "roles"]


def test_every_staff_read_of_a_person_is_recorded(admin: Person, learner_id: UUID, course_id: UUID, database: Database):
    own_path = f"/v1/users/{learner_id}"
    paths = [own_path, f"{own_path}/access?course_id={course_id}", *(f"{own_path}/{each}" for each in LISTS)]
    email = admin.get(paths[0]).json["email"]
    database.execute("TRUNCATE bus.staff_actions")

    assert {admin.get(path).status_code for path in [*paths, f"/v1/users?email={email}"]} == {200}

    recorded = database.rows("SELECT DISTINCT kind, subject->>'user_id', subject->>'user_1' FROM bus.staff_actions")
    assert len(database.rows("SELECT id FROM bus.staff_actions")) == len(paths) + 1
    assert set(recorded) == {("read", str(learner_id), None), ("read", None, str(learner_id))}
    for path in paths:
        assert problem(admin.get(path.replace(str(learner_id), str(uuid4())))) == (404, "not_found")


# Reads with a permission that show no personal data of other people.
NOT_RECORDED = {"courses:write", "payments:admin", "ops:admin"}


def test_reads_of_personal_data_are_declared():
    undeclared = {
        rule
        for method, rule, policy in ROUTES
        if method == "GET" and set(policy.permissions) - NOT_RECORDED and not policy.reads_personal_data
    }

    assert undeclared == {"/v1/statistics"}  # sums over all people
