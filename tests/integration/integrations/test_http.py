"""Webhook endpoints over HTTP: responses with a secret are not stored, and commands of staff are recorded."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.view_attributes import Policy
from tests.integration.api.test_policies import ROUTES
from tests.support.databases import Database
from tests.support.gateway import Person, gateway, running_worker, trust_test_tokens
from tests.unit.api.test_openapi import OPERATIONS


@pytest.fixture
def database(database: Database) -> Iterator[Database]:
    with running_worker("users", "integrations"):
        yield database


@pytest.fixture
def admin(monkeypatch, database: Database) -> Person:
    trust_test_tokens(monkeypatch)
    return Person(gateway().test_client(), permissions=("ops:admin",))


def create(admin: Person, **headers: str) -> Any:
    return admin.send("POST", "/v1/webhook-endpoints", {"url": "http://127.0.0.1:9/"}, **headers)


STORED_RESPONSE_HEADERS = [{"Idempotency_Key": "k-1"}, {"Prefer": "respond-async"}]


@pytest.mark.parametrize("headers", STORED_RESPONSE_HEADERS, ids=str)
def test_new_endpoint_secret_is_never_stored(admin: Person, database: Database, headers: dict[str, str]):
    response = create(admin, **headers)

    assert (response.status_code, response.json["code"]) == (400, "secret_not_stored")
    assert database.count("integrations.webhook_endpoints") == 0
    assert database.count("bus.idempotency_keys") == database.count("bus.operations") == 0


@pytest.mark.parametrize("headers", STORED_RESPONSE_HEADERS, ids=str)
def test_rotated_secret_is_never_stored(admin: Person, database: Database, headers: dict[str, str]):
    endpoint = create(admin).json
    path = f"/v1/webhook-endpoints/{endpoint['id']}/rotate-secret"

    refused = admin.send("POST", path, **headers)
    rotated = admin.send("POST", path)

    assert (refused.status_code, refused.json["code"]) == (400, "secret_not_stored")
    assert rotated.json["secret"] != endpoint["secret"]


def test_secret_responses_match_route_policy():
    secret = {
        (method, path)
        for (method, path), operation in OPERATIONS.items()
        if re.search("WebhookEndpointWithSecret|StreamTicket", str(operation["responses"]))
    }

    assert secret == {each for each, operation in OPERATIONS.items() if operation.get("x-returns-secret")}
    assert len(secret) == sum(policy.returns_secret for _, _, policy in ROUTES) == 3
    for each in secret:
        assert "Idempotency" not in str(OPERATIONS[each].get("parameters", []))
        assert "202" not in OPERATIONS[each]["responses"]


def actions(database: Database) -> list[tuple[str, str]]:
    return database.rows("SELECT actor, task FROM bus.staff_actions ORDER BY id")


def test_staff_command_is_recorded_with_actor(admin: Person, database: Database):
    endpoint = create(admin).json

    admin.send("DELETE", f"/v1/webhook-endpoints/{endpoint['id']}")
    admin.get("/v1/webhook-endpoints")

    user_id = database.value("SELECT id FROM users.users")
    actor = f"user:{user_id}"
    assert actions(database) == [(actor, "integrations.create_endpoint"), (actor, "integrations.delete_endpoint")]
    subject = database.value("SELECT subject FROM bus.staff_actions WHERE task LIKE '%.delete_endpoint'")
    assert subject == {"endpoint_id": endpoint["id"]}


def test_machine_command_is_recorded_with_client(admin: Person, database: Database):
    admin.sub = "deploy@clients"
    admin.send("POST", "/v1/webhook-endpoints", {"url": "http://127.0.0.1:9/"}, claims={"gty": "client-credentials"})

    assert actions(database) == [("client:deploy@clients", "integrations.create_endpoint")]


def test_rejected_command_is_not_recorded(admin: Person, database: Database):
    admin.send("DELETE", "/v1/webhook-endpoints/00000000-0000-0000-0000-000000000000")

    assert actions(database) == []


def test_recorded_actions_cannot_be_changed(database: Database):
    for service in ("users", "integrations"):
        allowed = database.value(
            "SELECT has_table_privilege(:role, 'bus.staff_actions', 'UPDATE, DELETE')", role=f"coursebus_{service}"
        )
        assert not allowed


def test_policy_stores_responses_by_default():
    assert not Policy().returns_secret
