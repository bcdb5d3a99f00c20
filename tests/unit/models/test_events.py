"""Event schemas are a public contract: docs/ contains them, and they change only in backward compatible ways."""

import json
from copy import deepcopy
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from models.events import UserCreated, all_event_types
from models.events.routes import ROUTES, producers_of
from ops import generate_schemas

TYPES = [event.type for event in all_event_types()]


def committed(path: Path) -> dict:
    assert (generate_schemas.DOCS / path).exists(), f"docs/{path} is missing: make schemas"
    return json.loads((generate_schemas.DOCS / path).read_text())


@pytest.mark.parametrize(("path", "document"), generate_schemas.documents().items(), ids=str)
def test_committed_schema_documents_are_current(path, document):
    assert committed(path) == json.loads(generate_schemas.serialize(document)), "make schemas"


@pytest.mark.parametrize("event", list(all_event_types()), ids=lambda event: event.type)
def test_schema_is_backward_compatible(event):
    published_schema = committed(Path("schemas", event.type, f"{event.schema_version}.json"))
    assert not generate_schemas.breaking_changes(published_schema, generate_schemas.schema_of(event))


def test_every_schema_has_an_event():
    assert {path.parent.name for path in generate_schemas.DOCS.glob("schemas/*/*.json")} == set(TYPES)


@pytest.mark.parametrize("event", list(all_event_types()), ids=lambda event: event.type)
def test_event_is_frozen_and_keyword_only(event):
    assert event.__dataclass_params__.frozen
    assert all(field.kw_only for field in fields(event))


@pytest.fixture
def published_schema() -> dict:
    return generate_schemas.schema_of(UserCreated)


def changed(published_schema: dict) -> tuple[dict, dict]:
    """Return a copy of the schema, and its definition of the event."""
    schema = deepcopy(published_schema)
    return schema, schema["$defs"]["UserCreated"]


def test_optional_field_may_be_added(published_schema):
    schema, user = changed(published_schema)
    user["properties"]["invited_by"] = {"type": "string", "default": ""}
    assert not generate_schemas.breaking_changes(published_schema, schema)
    assert not generate_schemas.breaking_changes(schema, published_schema)


def test_schema_descriptions_may_change(published_schema):
    schema, user = changed(published_schema)
    user["description"] = "A better description."
    assert not generate_schemas.breaking_changes(published_schema, schema)


def test_required_field_may_not_be_added(published_schema):
    schema, user = changed(published_schema)
    user["properties"]["country"] = {"type": "string"}
    user["required"].append("country")
    assert generate_schemas.breaking_changes(published_schema, schema) == [
        "/country is required, but earlier events do not have it"
    ]


def test_field_may_not_be_removed(published_schema):
    schema, user = changed(published_schema)
    del user["properties"]["sub"]
    user["required"].remove("sub")
    assert generate_schemas.breaking_changes(published_schema, schema) == [
        "/sub is no longer required, but readers rely on it"
    ]


def test_nested_field_type_may_not_change(published_schema):
    schema, _ = changed(published_schema)
    schema["$defs"]["Person"]["properties"]["locale"]["type"] = "integer"
    assert generate_schemas.breaking_changes(published_schema, schema) == [
        "/pii/locale/type was 'string' and is 'integer'"
    ]


def test_generator_rejects_breaking_change(published_schema, tmp_path, monkeypatch):
    schema, user = changed(published_schema)
    del user["properties"]["sub"]
    user["required"].remove("sub")
    path = tmp_path / "schemas" / "USER_CREATED" / "1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(schema))
    monkeypatch.setattr(generate_schemas, "DOCS", tmp_path)
    with pytest.raises(SystemExit, match="/sub is required, but earlier events do not have it"):
        generate_schemas.main()
    assert json.loads(path.read_text()) == schema


def test_asyncapi_lists_every_event_and_handler():
    document = generate_schemas.asyncapi()
    assert set(document["components"]["messages"]) == set(TYPES)
    # An event that every service publishes has one operation per topic.
    named = {".".join(name.split(".")[:2]) for name in document["operations"]}
    assert {handler for handlers in ROUTES.values() for handler in handlers} <= named
    for operation in document["operations"].values():
        for message in operation.get("messages", ()):
            channel, _, type_ = message["$ref"].removeprefix("#/channels/").partition("/messages/")
            assert channel in producers_of(type_)


def test_timestamp_without_offset_is_rejected():
    event = {"user_id": "0190e000-0000-7000-8000-000000000000", "sub": "auth0|1", "pii": {"email": None, "name": None}}
    naive, aware = "2026-01-01T00:00:00", "2026-01-01T00:00:00Z"
    assert msgspec.convert(event | {"created_at": aware}, UserCreated).created_at == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(event | {"created_at": naive}, UserCreated)


def test_events_accept_unknown_fields():
    event = {
        "user_id": "0190e000-0000-7000-8000-000000000000",
        "sub": "auth0|1",
        "pii": {"email": None, "name": None, "phone": "+1"},
        "created_at": "2026-01-01T00:00:00Z",
        "invited_by": "ann",
    }
    assert msgspec.convert(event, UserCreated).sub == "auth0|1"
