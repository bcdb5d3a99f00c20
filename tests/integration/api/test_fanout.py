"""Responses with a part from every service: all services are queried before any of them has to reply."""

from uuid import uuid4

import msgspec
import pytest

from api.users import exports
from core.redis import queue_redis
from settings import SERVICES
from tests.integration.api.test_dashboard import fake_services
from tests.support.gateway import Person, cache_account, gateway, trust_test_tokens


@pytest.fixture
def admin(monkeypatch) -> Person:
    queue_redis().delete(*SERVICES)
    trust_test_tokens(monkeypatch)
    person = Person(gateway().test_client(), permissions=("ops:admin",))
    cache_account(person)
    return person


def replies(*failing: str, **results: object) -> dict[str, bytes]:
    """Return the reply of every service: its result, by default an empty list; a crash for ``failing``."""
    return {
        service: msgspec.json.encode({"crash": "a bug"} if service in failing else {"result": results.get(service, [])})
        for service in SERVICES
    }


def make_items(service: str, *numbers: int) -> list[dict[str, str]]:
    return [{"id": f"{service}-{number}"} for number in numbers]


@pytest.mark.parametrize("path", ["dead-letters", "quarantined-events"])
def test_lists_query_all_services_concurrently(admin: Person, path: str):
    found = {"courses": make_items("courses", 1, 2), "users": make_items("users", 1)}
    with fake_services(*SERVICES, **replies(**found)):
        page = admin.get(f"/v1/{path}").json

    assert [item["id"] for item in page["items"]] == ["courses-1", "courses-2", "users-1"]
    assert page["next_cursor"] is None


def test_next_page_continues_within_a_service(admin: Person):
    with fake_services(
        *SERVICES, **replies("users", courses=make_items("courses", 1), payments=make_items("payments", 1, 2))
    ):
        page = admin.get("/v1/dead-letters?limit=2").json
    remaining = [service for service in SERVICES if service >= "payments"]
    with fake_services(*remaining, **replies(payments=make_items("payments", 2), users=make_items("users", 1))):
        next_page = admin.get(f"/v1/dead-letters?limit=2&cursor={page['next_cursor']}").json

    assert [item["id"] for item in page["items"]] == ["courses-1", "payments-1"]
    assert [item["id"] for item in next_page["items"]] == ["payments-2", "users-1"]


def test_list_fails_when_one_service_fails(admin: Person):
    with fake_services(*SERVICES, **replies("progress", courses=make_items("courses", 1))):
        response = admin.get("/v1/dead-letters")

    assert response.status_code == 500


def test_export_queries_all_services_concurrently(admin: Person, monkeypatch):
    now = "2026-01-01T00:00:00Z"
    export = {"id": str(uuid4()), "requested_at": now, "finished_at": now, "services": list(SERVICES)}
    monkeypatch.setattr(exports, "call", lambda *_, **__: export)

    with fake_services(*SERVICES, **replies(**{service: {"of": service} for service in SERVICES})):
        parts = admin.get("/v1/me/export").json["services"]

    assert parts == {service: {"of": service} for service in SERVICES}
