"""The right to be forgotten, with every service's own handler, real databases, and a look into every corner."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from bridge.routes import ROUTES
from models import cache
from models.base import now, sessions
from models.cache import Stored, profile_key
from models.deadletters import DeadLetter
from models.events import CoursePurchased, Person, UserUpdated
from models.operations import Operation
from models.payments import Attempt, Order, Terms
from settings import SERVICES
from tests.courses.factories import make_course
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.users.bus import carry
from tests.users.factories import make_admin, make_sub
from tests.users.traces import traces_of

pytestmark = pytest.mark.usefixtures("quiet_auth0")


class Ann:
    """Somebody who has left traces in every service."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sub = make_sub()
        self.email = f"{uuid4().hex}@example.com"
        identity = asked("users.identify", sub=self.sub, email=self.email, name=f"Ann {self.email}")
        self.id = UUID(identity["user_id"])
        carry(database)

    @property
    def version(self) -> int:
        return self.database.value("SELECT version FROM users.users WHERE id = :id", id=self.id)

    def leaves(self) -> str:
        """Ask to be forgotten; returns the operation's id."""
        operation = asked("users.erase_me", sub=self.sub, expected_version=self.version)
        assert operation["status"] == "running"
        return operation["id"].removeprefix("users-")

    def operation(self, operation_id: str) -> dict[str, Any]:
        return asked("users.show_operation", operation_id=operation_id, owner=self.sub)


def asked(task: str, **message: Any) -> Any:
    reply = deliver(task, message)
    assert "result" in reply, reply
    return reply["result"]


@pytest.fixture
def ann(database: Database) -> Ann:
    return Ann(database)


def buy(ann: Ann, course_id: UUID) -> UUID:
    """An order that is paid, whose return address tells who bought."""
    with sessions("payments").begin() as session:
        order = Order(
            id=uuid4(),
            version=0,
            user_id=ann.id,
            status="paid",
            course_id=course_id,
            course_title="SQL",
            amount_minor=100,
            currency="EUR",
            created_at=now(),
            paid_at=now(),
        )
        session.add(order)
        session.flush()
        terms = Terms(
            provider="stripe",
            account="main",
            live_mode=False,
            amount_minor=100,
            currency="EUR",
            success_url=f"https://example.com/?who={ann.email}",
            cancel_url=f"https://example.com/?who={ann.email}",
        )
        attempt = Attempt.begin(terms, open_for=timedelta(hours=1), at=now())
        attempt.order_id, attempt.status, attempt.captured_minor = order.id, "succeeded", 100
        session.add(attempt)
        return order.id


def learn(ann: Ann, course_id: UUID) -> None:
    event = CoursePurchased(
        order_id=uuid4(), user_id=ann.id, course_id=course_id, course_title="SQL", purchased_at=now()
    )
    assert "result" in deliver("courses.grant_access", {"event": msgspec.to_builtins(event)}, event_id=uuid4())


def leave_traces_on_the_bus(ann: Ann) -> None:
    """What commands, answers, failures and poison leave behind."""
    event = UserUpdated(user_id=ann.id, version=9, pii=Person(email=ann.email, name="Ann"), updated_at=now())
    with sessions("notifications").begin() as session:
        session.add(
            DeadLetter(
                handler="notifications.keep_contact",
                event_id=uuid4(),
                topic="users",
                key=str(ann.id),
                type="USER_UPDATED",
                payload=msgspec.to_builtins(event),
                headers={},
                reason=f"DataError: {ann.email}",
                status="open",
                created_at=now(),
            )
        )
    claim = {"scope": f"{ann.sub} POST /v1/x", "key": "k", "fingerprint": "f"}
    reply = deliver("users.show_profile", {"user_id": ann.id, "email": None, "name": None}, claim=claim)
    assert reply["result"]["email"] == ann.email
    promised = asked(
        "users.accept_operation",
        kind="users.change_profile",
        message={"user_id": str(ann.id), "expected_version": ann.version, "changes": {"name": ann.email}},
        owner=ann.sub,
        claim=None,
    )
    asked("users.run_operation", operation_id=promised["id"].removeprefix("users-"))
    ann.database.execute(
        "INSERT INTO bus.jobs (kind, slot, attempts, run_after, last_error)"
        " VALUES ('users.x', now(), 5, now(), :error)",
        error=f"ValueError('{ann.email}')",
    )


def test_a_person_with_traces_everywhere_leaves_none(ann: Ann):
    with sessions("courses").begin() as session:
        course_id = make_course(session).id
    carry(ann.database)
    learn(ann, course_id)
    buy(ann, course_id)
    leave_traces_on_the_bus(ann)
    carry(ann.database)
    cache.put(profile_key(ann.id), Stored(3, ann.email.encode()))
    before = traces_of(ann.email, ann.database)
    assert {trace.partition(":")[0] for trace in before} >= {
        "users.users",
        "notifications.contacts",
        "payments.attempts",
        "bus.outbox",
        "bus.dead_letters",
        "bus.operations",
        "bus.idempotency_keys",
        "bus.jobs",
        "redis",
    }

    operation_id = ann.leaves()
    carry(ann.database)

    assert traces_of(ann.email, ann.database) == []
    # Her name at Auth0 is what she may still read the receipt by, and nothing else.
    assert {trace.partition(":")[0] for trace in traces_of(ann.sub, ann.database)} <= {"bus.operations", "redis"}
    assert [trace for trace in traces_of(str(ann.id), ann.database) if trace.startswith("mongo")] == []
    for table in ("courses.enrollments", "courses.grants", "progress.course_progress"):
        assert ann.database.rows(f"SELECT * FROM {table} WHERE user_id = :id", id=ann.id) == []  # noqa: S608 as above
    operation = ann.operation(operation_id)
    assert operation["status"] == "succeeded"
    receipt = {part["service"]: part for part in operation["result"]["services"]}
    assert set(receipt) == set(SERVICES)
    assert all(part["rows"] > 0 and part["erased_at"] for part in receipt.values())
    [books] = receipt["payments"]["kept"]
    assert books["what"].startswith("1 paid orders")
    assert "law" in books["why"]


def test_the_receipt_waits_for_the_last_service(ann: Ann):
    operation_id = ann.leaves()
    carry(ann.database, without=("progress.erase_data",))
    assert ann.operation(operation_id)["status"] == "running"

    ann.database.execute("UPDATE bus.outbox SET published_at = NULL WHERE type = 'USER_DELETED'")
    carry(ann.database)
    assert ann.operation(operation_id)["status"] == "succeeded"


def test_every_service_answers_for_itself():
    for event, verb in (("USER_DELETED", "erase_data"), ("USER_EXPORT_REQUESTED", "export_data")):
        assert {f"{service}.{verb}" for service in SERVICES} <= set(ROUTES[event])


@pytest.mark.parametrize("service", SERVICES)
def test_an_erasure_delivered_twice_is_done_and_told_once(ann: Ann, service: str):
    ann.leaves()
    carry(ann.database, twice=True)

    told = ann.database.rows(
        "SELECT payload FROM bus.outbox WHERE type = 'USER_DATA_ERASED' AND aggregatetype = :topic", topic=service
    )
    assert [payload["service"] for (payload,) in told] == [service]


def test_a_receipt_gathered_twice_lists_a_service_once(ann: Ann):
    operation_id = ann.leaves()
    carry(ann.database, twice=True)

    services = [part["service"] for part in ann.operation(operation_id)["result"]["services"]]
    assert services == sorted(SERVICES)


def test_a_token_that_outlives_its_account_brings_nobody_back(ann: Ann):
    ann.leaves()
    reply = deliver("users.identify", {"sub": ann.sub, "email": ann.email, "name": "Ann"})

    assert reply["error"]["name"] == "AccountErased"
    assert traces_of(ann.email, ann.database) != []  # nobody has been told yet
    carry(ann.database)
    assert traces_of(ann.email, ann.database) == []


def test_asked_again_it_is_the_same_operation(ann: Ann):
    operation_id = ann.leaves()

    again = asked("users.erase_me", sub=ann.sub, expected_version=1)
    assert again["id"] == f"users-{operation_id}"


def test_a_stale_version_erases_nobody(ann: Ann):
    reply = deliver("users.erase_me", {"sub": ann.sub, "expected_version": ann.version - 1})

    assert reply["error"]["name"] == "PreconditionFailed"
    assert asked("users.show_profile", user_id=ann.id, email=None, name=None)["email"] == ann.email


def test_late_news_of_someone_who_has_gone_start_nothing(ann: Ann):
    with sessions("courses").begin() as session:
        course_id = make_course(session).id
    carry(ann.database)
    ann.leaves()
    carry(ann.database)
    learn(ann, course_id)
    stale = UserUpdated(user_id=ann.id, version=99, pii=Person(email=ann.email, name="Ann"), updated_at=now())
    deliver("notifications.keep_contact", {"event": msgspec.to_builtins(stale)}, event_id=uuid4())
    carry(ann.database)

    assert traces_of(ann.email, ann.database) == []
    assert ann.database.value("SELECT count(*) FROM courses.enrollments WHERE user_id = :id", id=ann.id) == 0


def test_a_command_that_still_runs_is_waited_for(ann: Ann):
    promised = asked(
        "users.accept_operation",
        kind="users.change_profile",
        message={"user_id": str(ann.id), "expected_version": 2, "changes": {"name": ann.email}},
        owner=ann.sub,
        claim=None,
    )
    with sessions("users").begin() as session:
        Operation.begin(session, UUID(promised["id"].removeprefix("users-")), at=now())
    ann.leaves()
    [[event_id, payload]] = ann.database.rows("SELECT id, payload FROM bus.outbox WHERE type = 'USER_DELETED'")

    reply = deliver("payments.erase_data", {"event": payload}, event_id=event_id)

    assert reply["error"]["name"] == "ProjectionBehind"


def test_a_replayed_projection_of_contacts_comes_out_without_the_person(ann: Ann):
    ann.leaves()
    carry(ann.database)
    known = ann.database.rows("SELECT * FROM notifications.contacts")
    events = [
        {"type": type_, "payload": payload}
        for type_, payload in ann.database.rows(
            "SELECT type, payload FROM bus.outbox WHERE aggregatetype = 'users' AND aggregateid = :id"
            " AND type IN ('USER_CREATED', 'USER_UPDATED', 'USER_DELETED') ORDER BY seq",
            id=str(ann.id),
        )
    ]
    asked("notifications.rebuild_projection", name="notifications.contacts", key=str(ann.id), events=events)

    assert ann.database.rows("SELECT * FROM notifications.contacts") == known


def test_an_erased_user_is_a_404(ann: Ann):
    ann.leaves()
    for task, message in (
        ("users.show_profile", {"email": None, "name": None}),
        ("users.change_profile", {"expected_version": 3, "changes": {"name": "Eve"}}),
        (
            "users.set_roles",
            {"expected_version": 3, "roles": ["admin"], "actor": make_admin(), "actor_token_issued_at": time.time()},
        ),
        ("users.erase_user", {"expected_version": 3, "owner": "auth0|admin"}),
    ):
        reply = deliver(task, {"user_id": ann.id, **message})
        assert reply["error"]["name"] == "NotFound", task
