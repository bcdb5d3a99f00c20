"""Account erasure with every service's own handler, real databases, and a search of every store."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from core import cache
from core.bus.dead_letters import DeadLetter
from core.bus.operations import Operation
from core.cache import CachedView, profile_key
from core.db import session_factory, utc_now
from models.events import CoursePurchased, Person, UserUpdated
from models.events.routes import ROUTES
from models.payments import Order, PaymentAttempt, PaymentTerms
from settings import SERVICES
from tests.integration.courses.factories import make_course
from tests.integration.users.event_delivery import deliver_pending_events
from tests.integration.users.factories import make_admin, make_sub
from tests.integration.users.personal_data import find_personal_data
from tests.support.databases import Database
from tests.support.deliveries import deliver

pytestmark = pytest.mark.usefixtures("auth0_sync_disabled")


class Ann:
    """A user with personal data in every service."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sub = make_sub()
        self.email = f"{uuid4().hex}@example.com"
        identity = call_task("users.get_or_create_user", sub=self.sub, email=self.email, name=f"Ann {self.email}")
        self.id = UUID(identity["user_id"])
        deliver_pending_events(database)

    @property
    def version(self) -> int:
        return self.database.value("SELECT version FROM users.users WHERE id = :id", id=self.id)

    def request_erasure(self) -> str:
        """Request the erasure; returns the operation's id."""
        operation = call_task("users.erase_own_account", sub=self.sub, expected_version=self.version)
        assert operation["status"] == "running"
        return operation["id"].removeprefix("users-")

    def operation(self, operation_id: str) -> dict[str, Any]:
        return call_task("users.show_operation", operation_id=operation_id, owner=self.sub)


def call_task(task: str, **message: Any) -> Any:
    reply = deliver(task, message)
    assert "result" in reply, reply
    return reply["result"]


@pytest.fixture
def ann(database: Database) -> Ann:
    return Ann(database)


def create_paid_order(ann: Ann, course_id: UUID) -> UUID:
    """Create a paid order whose return URL contains the buyer's email address."""
    with session_factory("payments").begin() as session:
        order = Order(
            id=uuid4(),
            version=0,
            user_id=ann.id,
            status="paid",
            course_id=course_id,
            course_title="SQL",
            amount_minor=100,
            currency="EUR",
            created_at=utc_now(),
            paid_at=utc_now(),
        )
        session.add(order)
        session.flush()
        terms = PaymentTerms(
            provider="stripe",
            account="main",
            live_mode=False,
            amount_minor=100,
            currency="EUR",
            success_url=f"https://example.com/?who={ann.email}",
            cancel_url=f"https://example.com/?who={ann.email}",
        )
        attempt = PaymentAttempt.create(terms, ttl=timedelta(hours=1), at=utc_now())
        attempt.order_id, attempt.status, attempt.captured_minor = order.id, "succeeded", 100
        session.add(attempt)
        return order.id


def grant_course(ann: Ann, course_id: UUID) -> None:
    event = CoursePurchased(
        order_id=uuid4(), user_id=ann.id, course_id=course_id, course_title="SQL", purchased_at=utc_now()
    )
    assert "result" in deliver("courses.grant_access", {"event": msgspec.to_builtins(event)}, event_id=uuid4())


def store_personal_data_in_bus_tables(ann: Ann) -> None:
    """Store what commands, replies, failures and dead letters leave behind."""
    event = UserUpdated(user_id=ann.id, version=9, pii=Person(email=ann.email, name="Ann"), updated_at=utc_now())
    with session_factory("notifications").begin() as session:
        session.add(
            DeadLetter(
                handler="notifications.update_contact",
                event_id=uuid4(),
                topic="users",
                key=str(ann.id),
                type="USER_UPDATED",
                payload=msgspec.to_builtins(event),
                headers={},
                reason=f"DataError: {ann.email}",
                status="open",
                created_at=utc_now(),
            )
        )
    claim = {"scope": f"{ann.sub} POST /v1/x", "key": "k", "fingerprint": "f"}
    reply = deliver("users.show_profile", {"user_id": ann.id, "email": None, "name": None}, claim=claim)
    assert reply["result"]["email"] == ann.email
    promised = call_task(
        "users.accept_operation",
        kind="users.change_profile",
        message={"user_id": str(ann.id), "expected_version": ann.version, "changes": {"name": ann.email}},
        owner=ann.sub,
        claim=None,
    )
    call_task("users.run_operation", operation_id=promised["id"].removeprefix("users-"))
    ann.database.execute(
        "INSERT INTO bus.jobs (kind, slot, attempts, run_after, last_error)"
        " VALUES ('users.x', now(), 5, now(), :error)",
        error=f"ValueError('{ann.email}')",
    )


def test_erasure_removes_all_personal_data(ann: Ann):
    with session_factory("courses").begin() as session:
        course_id = make_course(session).id
    deliver_pending_events(ann.database)
    grant_course(ann, course_id)
    create_paid_order(ann, course_id)
    store_personal_data_in_bus_tables(ann)
    deliver_pending_events(ann.database)
    cache.put(profile_key(ann.id), CachedView(3, ann.email.encode()))
    before = find_personal_data(ann.email, ann.database)
    assert {trace.partition(":")[0] for trace in before} >= {
        "users.users",
        "notifications.contacts",
        "payments.payment_attempts",
        "bus.outbox",
        "bus.dead_letters",
        "bus.operations",
        "bus.idempotency_keys",
        "bus.jobs",
        "redis",
    }

    operation_id = ann.request_erasure()
    deliver_pending_events(ann.database)

    assert find_personal_data(ann.email, ann.database) == []
    # Auth0's user id stays only where the user may still read the outcome of the erasure.
    assert {trace.partition(":")[0] for trace in find_personal_data(ann.sub, ann.database)} <= {
        "bus.operations",
        "redis",
    }
    assert [trace for trace in find_personal_data(str(ann.id), ann.database) if trace.startswith("mongo")] == []
    for table in ("courses.enrollments", "courses.grants", "progress.course_progress"):
        assert ann.database.rows(f"SELECT * FROM {table} WHERE user_id = :id", id=ann.id) == []  # noqa: S608 as above
    operation = ann.operation(operation_id)
    assert operation["status"] == "succeeded"
    receipt = {part["service"]: part for part in operation["result"]["services"]}
    assert set(receipt) == set(SERVICES)
    assert all(part["rows"] > 0 and part["erased_at"] for part in receipt.values())
    [books] = receipt["payments"]["retained"]
    assert books["description"].startswith("1 paid orders")
    assert "law" in books["reason"]


def test_erasure_completes_after_last_service(ann: Ann):
    operation_id = ann.request_erasure()
    deliver_pending_events(ann.database, excluded_handlers=("progress.erase_data",))
    assert ann.operation(operation_id)["status"] == "running"

    ann.database.execute("UPDATE bus.outbox SET published_at = NULL WHERE type = 'USER_DELETED'")
    deliver_pending_events(ann.database)
    assert ann.operation(operation_id)["status"] == "succeeded"


def test_every_service_handles_erasure_and_export():
    for event, verb in (("USER_DELETED", "erase_data"), ("USER_EXPORT_REQUESTED", "export_data")):
        assert {f"{service}.{verb}" for service in SERVICES} <= set(ROUTES[event])


def test_valid_token_of_erased_user_is_rejected(ann: Ann):
    ann.request_erasure()
    reply = deliver("users.get_or_create_user", {"sub": ann.sub, "email": ann.email, "name": "Ann"})

    assert reply["error"]["name"] == "AccountErased"
    assert find_personal_data(ann.email, ann.database) != []  # no service has handled the event yet
    deliver_pending_events(ann.database)
    assert find_personal_data(ann.email, ann.database) == []


def test_repeated_erasure_request_returns_same_operation(ann: Ann):
    operation_id = ann.request_erasure()

    again = call_task("users.erase_own_account", sub=ann.sub, expected_version=1)
    assert again["id"] == f"users-{operation_id}"


def test_erasure_with_stale_version_is_rejected(ann: Ann):
    reply = deliver("users.erase_own_account", {"sub": ann.sub, "expected_version": ann.version - 1})

    assert reply["error"]["name"] == "PreconditionFailed"
    assert call_task("users.show_profile", user_id=ann.id, email=None, name=None)["email"] == ann.email


def test_late_events_of_erased_user_are_ignored(ann: Ann):
    with session_factory("courses").begin() as session:
        course_id = make_course(session).id
    deliver_pending_events(ann.database)
    ann.request_erasure()
    deliver_pending_events(ann.database)
    grant_course(ann, course_id)
    stale = UserUpdated(user_id=ann.id, version=99, pii=Person(email=ann.email, name="Ann"), updated_at=utc_now())
    deliver("notifications.update_contact", {"event": msgspec.to_builtins(stale)}, event_id=uuid4())
    deliver_pending_events(ann.database)

    assert find_personal_data(ann.email, ann.database) == []
    assert ann.database.value("SELECT count(*) FROM courses.enrollments WHERE user_id = :id", id=ann.id) == 0


def test_erasure_waits_for_running_operation(ann: Ann):
    promised = call_task(
        "users.accept_operation",
        kind="users.change_profile",
        message={"user_id": str(ann.id), "expected_version": 2, "changes": {"name": ann.email}},
        owner=ann.sub,
        claim=None,
    )
    with session_factory("users").begin() as session:
        Operation.start_attempt(session, UUID(promised["id"].removeprefix("users-")), at=utc_now())
    ann.request_erasure()
    [[event_id, payload]] = ann.database.rows("SELECT id, payload FROM bus.outbox WHERE type = 'USER_DELETED'")

    reply = deliver("payments.erase_data", {"event": payload}, event_id=event_id)

    assert reply["error"]["name"] == "ProjectionNotReady"


def test_rebuilt_contact_projection_omits_erased_user(ann: Ann):
    ann.request_erasure()
    deliver_pending_events(ann.database)
    contacts = ann.database.rows("SELECT * FROM notifications.contacts")
    events = [
        {"type": type_, "payload": payload}
        for type_, payload in ann.database.rows(
            "SELECT type, payload FROM bus.outbox WHERE aggregatetype = 'users' AND aggregateid = :id"
            " AND type IN ('USER_CREATED', 'USER_UPDATED', 'USER_DELETED') ORDER BY seq",
            id=str(ann.id),
        )
    ]
    call_task("notifications.rebuild_projection", name="notifications.contacts", key=str(ann.id), events=events)

    assert ann.database.rows("SELECT * FROM notifications.contacts") == contacts


def test_erased_user_is_not_found(ann: Ann):
    ann.request_erasure()
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
