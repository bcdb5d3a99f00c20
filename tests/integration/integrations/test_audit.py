"""The audit log over HTTP: actions of all services, newest first, by actor and by the ids in the commands."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from core.bus.staff_actions import CHANGE, READ, StaffAction
from core.db import session_factory, utc_now
from settings import SERVICES
from tests.support.databases import Database
from tests.support.gateway import Person, cache_account, gateway, running_worker, trust_test_tokens


@pytest.fixture(autouse=True)
def workers(database: Database) -> Iterator[None]:
    with running_worker(*SERVICES):
        yield


@pytest.fixture
def admin(monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    person = Person(gateway().test_client(), permissions=("ops:admin",))
    cache_account(person)
    return person


def record_action(task: str, *, actor: str = "user:ann", kind: str = CHANGE, **subject: UUID) -> str:
    """Store an action; return its id."""
    ids = {name: str(value) for name, value in subject.items()}
    action = StaffAction.create(task, actor=actor, subject=ids, request_id="r-1")
    action.kind = kind
    with session_factory(task.partition(".")[0]).begin() as session:
        session.add(action)
    return str(action.id)


def list_ids(admin: Person, query: str = "") -> list[str]:
    return [each["id"] for each in admin.get(f"/v1/audit{query}").json["items"]]


def test_actions_of_all_services_are_listed_newest_first(admin: Person):
    order_id = uuid4()
    oldest = record_action("payments.refund_order", order_id=order_id)
    middle = record_action("courses.publish_course", course_id=uuid4())
    newest = record_action("payments.create_coupon")

    page = admin.get("/v1/audit?limit=2").json
    rest = admin.get(f"/v1/audit?limit=2&cursor={page['next_cursor']}").json

    assert [each["id"] for each in page["items"]] == [newest, middle]
    assert [each["id"] for each in rest["items"]] == [oldest]
    assert rest["next_cursor"] is None
    [action] = rest["items"]
    assert (action["command"], action["subject"]) == ("payments.refund_order", {"order_id": str(order_id)})
    assert (action["actor"], action["request_id"]) == ("user:ann", "r-1")


def test_actions_are_filtered_by_actor_and_subject(admin: Person):
    order_id = uuid4()
    by_ann = record_action("payments.refund_order", order_id=order_id, refund_id=uuid4())
    by_bob = record_action("payments.cancel_order", actor="client:bob@clients", order_id=order_id)
    before_read = utc_now().isoformat().replace("+00:00", "Z")
    read = record_action("users.show_profile", kind=READ, user_id=(user_id := uuid4()))
    record_action("payments.cancel_order", order_id=uuid4())

    assert list_ids(admin, f"?subject_id={order_id}") == [by_bob, by_ann]
    assert list_ids(admin, "?actor=client:bob@clients") == [by_bob]
    assert list_ids(admin, f"?actor=user:ann&subject_id={order_id}") == [by_ann]
    assert list_ids(admin, f"?kind=read&subject_id={user_id}") == [read]
    assert list_ids(admin, "?command=users.show_profile") == [read]
    assert list_ids(admin, f"?until={before_read}&kind=change") == [by_bob, by_ann]
    assert list_ids(admin, f"?since={before_read}&kind=read") == [read]


def test_subject_filter_uses_its_index():
    with session_factory("users").begin() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))  # the table is empty
        plan = session.execute(
            text(
                """EXPLAIN SELECT * FROM bus.staff_actions
                WHERE jsonb_path_query_array(subject, '$.*') @> CAST('["a"]' AS jsonb)"""
            )
        ).all()

    assert "ix_staff_actions_subject_ids" in str(plan)


@pytest.mark.parametrize(
    "query", ["?actor=ann", "?actor=user:", "?subject_id=1", "?cursor=AAAA", "?order_id=1", "?kind=all", "?since=today"]
)
def test_malformed_filters_are_rejected(admin: Person, query: str):
    response = admin.get(f"/v1/audit{query}")

    assert response.status_code in {400, 422}


def test_audit_log_is_for_operators(admin: Person):
    learner: Any = Person(admin.client)
    cache_account(learner)

    assert learner.get("/v1/audit").status_code == 403
