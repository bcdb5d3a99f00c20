"""Responses with a part of every service: all services are asked before any of them has to reply."""

from uuid import uuid4

import msgspec
import pytest

from api import users
from models.redis import queue_redis
from settings import SERVICES
from tests.api.test_dashboard import answering
from tests.gateway import Person, gateway, know, trust_test_tokens


@pytest.fixture
def admin(monkeypatch) -> Person:
    queue_redis().delete(*SERVICES)
    trust_test_tokens(monkeypatch)
    person = Person(gateway().test_client(), permissions=("ops:admin",))
    know(person)
    return person


def replies(*failing: str, **results: object) -> dict[str, bytes]:
    """The reply of every service: its result, by default an empty list; a crash for ``failing``."""
    return {
        service: msgspec.json.encode({"crash": "a bug"} if service in failing else {"result": results.get(service, [])})
        for service in SERVICES
    }


def letters(service: str, *numbers: int) -> list[dict[str, str]]:
    return [{"id": f"{service}-{number}"} for number in numbers]


@pytest.mark.parametrize("path", ["dead-letters", "quarantined-events"])
def test_lists_of_every_service_ask_all_services_at_once(admin: Person, path: str):
    found = {"courses": letters("courses", 1, 2), "users": letters("users", 1)}
    with answering(*SERVICES, **replies(**found)):
        page = admin.get(f"/v1/{path}").json

    assert [item["id"] for item in page["items"]] == ["courses-1", "courses-2", "users-1"]
    assert page["next_cursor"] is None


def test_page_ends_within_a_service_and_the_next_one_begins_there(admin: Person):
    with answering(*SERVICES, **replies("users", courses=letters("courses", 1), payments=letters("payments", 1, 2))):
        page = admin.get("/v1/dead-letters?limit=2").json
    after = [service for service in SERVICES if service >= "payments"]
    with answering(*after, **replies(payments=letters("payments", 2), users=letters("users", 1))):
        rest = admin.get(f"/v1/dead-letters?limit=2&cursor={page['next_cursor']}").json

    assert [item["id"] for item in page["items"]] == ["courses-1", "payments-1"]
    assert [item["id"] for item in rest["items"]] == ["payments-2", "users-1"]


def test_list_without_the_rows_of_one_service_is_an_error(admin: Person):
    with answering(*SERVICES, **replies("progress", courses=letters("courses", 1))):
        response = admin.get("/v1/dead-letters")

    assert response.status_code == 500


def test_export_asks_all_services_at_once(admin: Person, monkeypatch):
    now = "2026-01-01T00:00:00Z"
    export = {"id": str(uuid4()), "requested_at": now, "finished_at": now, "services": list(SERVICES)}
    monkeypatch.setattr(users, "ask", lambda *_, **__: export)

    with answering(*SERVICES, **replies(**{service: {"of": service} for service in SERVICES})):
        parts = admin.get("/v1/me/export").json["services"]

    assert parts == {service: {"of": service} for service in SERVICES}
