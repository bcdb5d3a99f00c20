"""What is published of an event is a promise: its schema stands in docs/, and changes only so that all can read it."""

import json
from copy import deepcopy
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from bridge.routes import ROUTES
from bridge.tellers import tellers_of
from models.events import UserCreated, every_event
from ops import schemas

TYPES = [event.type for event in every_event()]


def committed(path: Path) -> dict:
    assert (schemas.DOCS / path).exists(), f"docs/{path} is missing: make schemas"
    return json.loads((schemas.DOCS / path).read_text())


@pytest.mark.parametrize(("path", "document"), schemas.documents().items(), ids=str)
def test_what_is_published_is_what_the_code_says(path, document):
    assert committed(path) == json.loads(schemas.spelled(document)), "make schemas"


@pytest.mark.parametrize("event", list(every_event()), ids=lambda event: event.type)
def test_a_schema_keeps_what_was_promised(event):
    promised = committed(Path("schemas", event.type, f"{event.schema_version}.json"))
    assert not schemas.breaks(promised, schemas.schema_of(event))


def test_no_schema_stands_without_its_event():
    assert {path.parent.name for path in schemas.DOCS.glob("schemas/*/*.json")} == set(TYPES)


@pytest.mark.parametrize("event", list(every_event()), ids=lambda event: event.type)
def test_an_event_is_frozen_and_told_by_keywords(event):
    assert event.__dataclass_params__.frozen
    assert all(field.kw_only for field in fields(event))


@pytest.fixture
def promised() -> dict:
    return schemas.schema_of(UserCreated)


def changed(promised: dict) -> tuple[dict, dict]:
    """A copy of the schema, and its part that describes the user."""
    schema = deepcopy(promised)
    return schema, schema["$defs"]["UserCreated"]


def test_an_attribute_with_a_default_may_come(promised):
    schema, user = changed(promised)
    user["properties"]["invited_by"] = {"type": "string", "default": ""}
    assert not schemas.breaks(promised, schema)
    assert not schemas.breaks(schema, promised)


def test_words_for_people_may_change(promised):
    schema, user = changed(promised)
    user["description"] = "Said better."
    assert not schemas.breaks(promised, schema)


def test_an_attribute_without_a_default_may_not_come(promised):
    schema, user = changed(promised)
    user["properties"]["country"] = {"type": "string"}
    user["required"].append("country")
    assert schemas.breaks(promised, schema) == ["/country is missing in what was told before"]


def test_an_attribute_may_not_go(promised):
    schema, user = changed(promised)
    del user["properties"]["sub"]
    user["required"].remove("sub")
    assert schemas.breaks(promised, schema) == ["/sub was always there, which its readers rely on"]


def test_an_attribute_may_not_become_another_also_deep_inside(promised):
    schema, _ = changed(promised)
    schema["$defs"]["Person"]["properties"]["locale"]["type"] = "integer"
    assert schemas.breaks(promised, schema) == ["/pii/locale/type was 'string' and is 'integer'"]


def test_the_generator_refuses_to_break_a_promise(promised, tmp_path, monkeypatch):
    schema, user = changed(promised)
    del user["properties"]["sub"]
    user["required"].remove("sub")
    path = tmp_path / "schemas" / "USER_CREATED" / "1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(schema))
    monkeypatch.setattr(schemas, "DOCS", tmp_path)
    with pytest.raises(SystemExit, match="/sub is missing in what was told before"):
        schemas.main()
    assert json.loads(path.read_text()) == schema


def test_asyncapi_names_every_event_and_every_handler():
    document = schemas.asyncapi()
    assert set(document["components"]["messages"]) == set(TYPES)
    # What every service tells is heard on several topics: an operation for each.
    named = {".".join(name.split(".")[:2]) for name in document["operations"]}
    assert {handler for handlers in ROUTES.values() for handler in handlers} <= named
    for operation in document["operations"].values():
        for message in operation.get("messages", ()):
            channel, _, type_ = message["$ref"].removeprefix("#/channels/").partition("/messages/")
            assert channel in tellers_of(type_)


def test_a_moment_without_its_zone_is_refused():
    event = {"user_id": "0190e000-0000-7000-8000-000000000000", "sub": "auth0|1", "pii": {"email": None, "name": None}}
    naive, aware = "2026-01-01T00:00:00", "2026-01-01T00:00:00Z"
    assert msgspec.convert(event | {"created_at": aware}, UserCreated).created_at == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(event | {"created_at": naive}, UserCreated)


def test_a_reader_of_today_takes_what_tomorrow_adds():
    told = {
        "user_id": "0190e000-0000-7000-8000-000000000000",
        "sub": "auth0|1",
        "pii": {"email": None, "name": None, "phone": "+1"},
        "created_at": "2026-01-01T00:00:00Z",
        "invited_by": "ann",
    }
    assert msgspec.convert(told, UserCreated).sub == "auth0|1"
