"""Data exports: every service exports its part, and the gateway combines the parts."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from core.cache import cache_redis
from core.db import session_factory
from settings import SERVICES
from tests.integration.courses.factories import make_course
from tests.integration.users.event_delivery import deliver_pending_events
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.gateway import Person, gateway, running_worker, trust_test_tokens

pytestmark = pytest.mark.usefixtures("auth0_sync_disabled")


@pytest.fixture
def ann(database: Database, monkeypatch) -> Iterator[Person]:
    """A user who has signed in and enrolled."""
    trust_test_tokens(monkeypatch)
    cache_redis().flushdb()
    with running_worker(*SERVICES):
        person = Person(gateway().test_client(), email=f"{uuid4().hex}@example.com")
        user_id = person.get("/v1/me").json["id"]
        with session_factory("courses").begin() as session:
            course_id = make_course(session, price={"amount_minor": 0, "currency": "USD"}).id
        deliver_pending_events(database)
        assert "result" in deliver("courses.enroll", {"user_id": user_id, "course_id": course_id})
        deliver_pending_events(database)
        yield person


def test_export_contains_part_of_every_service(ann: Person, database: Database):
    accepted = ann.send("POST", "/v1/me/export", Idempotency_Key=uuid4().hex)
    assert accepted.status_code == 202
    deliver_pending_events(database)

    operation = ann.get(accepted.headers["Location"]).json
    assert (operation["status"], operation["result"]["href"]) == ("succeeded", "/v1/me/export")
    export = ann.get("/v1/me/export").json
    parts = export["services"]
    assert set(parts) == set(SERVICES)
    assert parts["users"]["profile"]["email"] == ann.email
    assert parts["notifications"]["contact"]["email"] == ann.email
    assert parts["notifications"]["notifications"]
    assert [each["status"] for each in parts["courses"]["enrollments"]] == ["active"]
    assert [each["status"] for each in parts["progress"]["courses"]] == ["in_progress"]
    assert parts["payments"].pop("billing_details").keys() == {"name", "company", "address", "tax_id"}
    assert parts["payments"] == {"orders": [], "invoices": [], "subscriptions": [], "saved_methods": []}


def test_export_events_contain_no_personal_data(ann: Person, database: Database):
    ann.send("POST", "/v1/me/export")
    deliver_pending_events(database)

    parts = database.rows("SELECT payload FROM bus.outbox WHERE type = 'USER_DATA_EXPORTED'")
    assert len(parts) == len(SERVICES)
    assert ann.email not in str(parts)


def test_running_export_is_reused(ann: Person, database: Database):
    first = ann.send("POST", "/v1/me/export").json["id"]
    assert ann.send("POST", "/v1/me/export").json["id"] == first
    deliver_pending_events(database)

    assert ann.send("POST", "/v1/me/export").json["id"] != first


def test_repeated_idempotency_key_returns_same_export(ann: Person, database: Database):
    key = uuid4().hex
    first = ann.send("POST", "/v1/me/export", Idempotency_Key=key)
    deliver_pending_events(database)
    again = ann.send("POST", "/v1/me/export", Idempotency_Key=key)

    assert again.json["id"] == first.json["id"]
    assert again.headers["Idempotent-Replayed"] == "true"


def test_missing_export_returns_404(ann: Person):
    assert ann.get("/v1/me/export").status_code == 404


def test_export_of_another_user_is_not_found(ann: Person, database: Database):
    ann.send("POST", "/v1/me/export")
    deliver_pending_events(database)
    export_id = ann.get("/v1/me/export").json["id"]
    message = {"service": "users", "user_id": uuid4(), "export_id": UUID(export_id)}

    assert deliver("users.show_export_part", message)["error"]["name"] == "NotFound"


def test_erasure_deletes_pending_export(ann: Person, database: Database):
    etag = ann.get("/v1/me").headers["ETag"]
    ann.send("POST", "/v1/me/export")
    accepted = ann.send("DELETE", "/v1/me", If_Match=etag)  # an export does not change the profile
    deliver_pending_events(database)

    assert ann.get(accepted.headers["Location"]).json["status"] == "succeeded"
    assert database.count("bus.export_parts") == 0
    assert database.count("users.exports") == 0
