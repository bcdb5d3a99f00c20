"""Webhook endpoints over HTTP: their secret is stored in no answer, and the commands of staff are recorded."""

from collections.abc import Iterator
from typing import Any

import pytest

from api.auth import Policy
from tests.api.test_openapi import OPERATIONS
from tests.api.test_policies import ROUTES
from tests.gateway import Person, gateway, running_worker, trust_test_tokens
from tests.support.databases import Database


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


STORING = [{"Idempotency_Key": "k-1"}, {"Prefer": "respond-async"}]


@pytest.mark.parametrize("headers", STORING, ids=str)
def test_secret_of_a_new_endpoint_is_stored_in_no_answer(admin: Person, database: Database, headers: dict[str, str]):
    response = create(admin, **headers)

    assert (response.status_code, response.json["code"]) == (400, "secret_not_stored")
    assert database.count("integrations.webhook_endpoints") == 0
    assert database.count("bus.idempotency_keys") == database.count("bus.operations") == 0


@pytest.mark.parametrize("headers", STORING, ids=str)
def test_rotated_secret_is_stored_in_no_answer(admin: Person, database: Database, headers: dict[str, str]):
    endpoint = create(admin).json
    path = f"/v1/webhook-endpoints/{endpoint['id']}/rotate-secret"

    refused = admin.send("POST", path, **headers)
    rotated = admin.send("POST", path)

    assert (refused.status_code, refused.json["code"]) == (400, "secret_not_stored")
    assert rotated.json["secret"] != endpoint["secret"]


def names_of(schema: Any) -> set[str]:
    """The names of all fields within a response of the OpenAPI document."""
    if isinstance(schema, dict):
        return set(schema) | {name for part in schema.values() for name in names_of(part)}
    return {name for part in schema for name in names_of(part)} if isinstance(schema, list) else set()


def test_answers_with_a_secret_are_those_whose_policy_says_so():
    secret = {
        (method, path)
        for (method, path), operation in OPERATIONS.items()
        if "WebhookEndpointWithSecret" in str(operation["responses"])
    }

    assert secret == {each for each, operation in OPERATIONS.items() if operation.get("x-secret-answer")}
    assert len(secret) == sum(policy.secret_answer for _, _, policy in ROUTES) == 2
    for each in secret:
        assert "Idempotency" not in str(OPERATIONS[each].get("parameters", []))
        assert "202" not in OPERATIONS[each]["responses"]


def actions(database: Database) -> list[tuple[str, str]]:
    return database.rows("SELECT actor, task FROM bus.staff_actions ORDER BY id")


def test_command_of_staff_is_recorded_with_its_actor(admin: Person, database: Database):
    endpoint = create(admin).json

    admin.send("DELETE", f"/v1/webhook-endpoints/{endpoint['id']}")
    admin.get("/v1/webhook-endpoints")

    user_id = database.value("SELECT id FROM users.users")
    actor = f"user:{user_id}"
    assert actions(database) == [(actor, "integrations.create_endpoint"), (actor, "integrations.delete_endpoint")]
    subject = database.value("SELECT subject FROM bus.staff_actions WHERE task LIKE '%.delete_endpoint'")
    assert subject == {"endpoint_id": endpoint["id"]}


def test_command_of_a_program_is_recorded_with_its_client(admin: Person, database: Database):
    admin.sub = "deploy@clients"
    admin.send("POST", "/v1/webhook-endpoints", {"url": "http://127.0.0.1:9/"}, claims={"gty": "client-credentials"})

    assert actions(database) == [("client:deploy@clients", "integrations.create_endpoint")]


def test_refused_command_is_not_recorded(admin: Person, database: Database):
    admin.send("DELETE", "/v1/webhook-endpoints/00000000-0000-0000-0000-000000000000")

    assert actions(database) == []


def test_recorded_actions_cannot_be_changed(database: Database):
    for service in ("users", "integrations"):
        allowed = database.value(
            "SELECT has_table_privilege(:role, 'bus.staff_actions', 'UPDATE, DELETE')", role=f"coursebus_{service}"
        )
        assert not allowed


def test_policy_stores_answers_unless_told_otherwise():
    assert not Policy().secret_answer
