"""The committed OpenAPI documents match the routes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import marshmallow as ma
import pytest

from api import openapi_examples
from api.schemas import Flag, Prose, unique_items
from models.events import all_event_types
from models.notification_data import DATA_BY_KIND
from ops import generate_openapi
from ops.dev.seed import id_of
from tests.integration.api.test_policies import ROUTES
from tests.support.gateway import gateway

DOCUMENT = json.loads(generate_openapi.OPENAPI.read_text())
# The generator of the client calls ruff.
PATH_OF_TOOLS = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if method != "parameters"
}


def test_committed_openapi_document_is_current():
    assert generate_openapi.OPENAPI.read_text() == generate_openapi.openapi(), "the contract has changed: make openapi"


def test_committed_error_list_is_current():
    assert generate_openapi.ERRORS.read_text() == generate_openapi.errors(), "the errors have changed: make openapi"


def test_every_route_is_documented_with_its_policy():
    assert DOCUMENT["openapi"].startswith("3.1")
    for method, rule, policy in ROUTES:
        path = re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule)
        if not path.startswith("/v1"):
            continue
        operation = OPERATIONS[method, path]
        assert operation["summary"], path
        if policy.anonymous:
            assert operation["security"] != [{"token": []}]
        else:
            assert operation["security"] == [{"token": []}]
            assert operation["x-permissions"] == list(policy.permissions)
            assert {"401", "403", "422", "429", "503", "504"} <= set(operation["responses"])


def test_every_operation_has_a_name_of_its_own():
    names = [operation["operationId"] for operation in OPERATIONS.values()]

    assert len(names) == len(set(names))
    assert not [name for name in names if not re.fullmatch(r"[a-z]+([A-Z0-9][a-z0-9]+)+|unsubscribe", name)]


def test_operations_and_parameters_are_described():
    undescribed = [name for name, operation in OPERATIONS.items() if not operation.get("description")]
    parameters = [
        (name, parameter["name"])
        for path, methods in DOCUMENT["paths"].items()
        for name, operation in [(path, {"parameters": methods.get("parameters", [])}), *methods.items()]
        if isinstance(operation, dict)
        for parameter in operation.get("parameters", [])
        if "name" in parameter and not parameter.get("description")
    ]

    assert (undescribed, parameters) == ([], [])


def test_response_fields_are_required_and_may_be_added():
    closed = {
        name
        for operation in OPERATIONS.values()
        for response in operation["responses"].values()
        for content in response.get("content", {}).values()
        if (name := content["schema"].get("$ref", "").rpartition("/")[2])
        and (DOCUMENT["components"]["schemas"][name].get("additionalProperties") is False)
    } - {"CourseDocument"}  # versioned by its field ``format``, and sent back by clients

    assert not closed
    assert set(DOCUMENT["components"]["schemas"]["FieldError"]["required"]) == {"detail"}
    assert "facets" not in DOCUMENT["components"]["schemas"]["CoursesPage"]["required"]


@pytest.mark.parametrize(
    ("name", "types"),
    [("Event", {each.type for each in all_event_types()}), ("NotificationData", set(DATA_BY_KIND))],
)
def test_events_and_data_of_notifications_are_typed(name: str, types: set[str]):
    union = DOCUMENT["components"]["schemas"][name]

    assert set(union["discriminator"]["mapping"]) == types
    assert {each["$ref"] for each in union["oneOf"]} == set(union["discriminator"]["mapping"].values())


def test_python_client_is_generated_without_warnings(tmp_path: Path):
    command = [
        *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"),
        *("--path", generate_openapi.OPENAPI, "--output-path", tmp_path / "client"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=PATH_OF_TOOLS)

    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.stem for path in (tmp_path / "client" / "api").glob("*/*.py")} >= {
        "complete_lesson",
        "create_checkout",
    }


def test_models_are_generated_without_warnings(tmp_path: Path):
    command = [
        *(sys.executable, "-m", "datamodel_code_generator", "--input-file-type", "openapi", "--formatters", "builtin"),
        *("--output-model-type", "msgspec.Struct", "--input", generate_openapi.OPENAPI),
        *("--output", tmp_path / "models.py"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=PATH_OF_TOOLS)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    subprocess.run([sys.executable, tmp_path / "models.py"], check=True)


# Answers without JSON: a JWT, a picture, a page, a stream.
WITHOUT_EXAMPLE = {"getBadge", "getCover", "showUnsubscribePage", "streamNotifications"}


def test_every_answer_with_a_body_has_a_valid_example():
    missing, wrong = set(), []
    for operation in OPERATIONS.values():
        answers = [
            media
            for status, response in operation["responses"].items()
            for media in response.get("content", {}).values()
            if status.startswith("2") and "example" in media
        ]
        if not answers and "204" not in operation["responses"]:
            missing.add(operation["operationId"])
        for media in answers:
            schema = {"components": DOCUMENT["components"], **media["schema"]}
            validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
            wrong += [f"{operation['operationId']} {each}" for each in validator.iter_errors(media["example"])]

    assert (missing, wrong) == (WITHOUT_EXAMPLE, [])


def test_idempotency_key_is_documented_per_command():
    def key_of(method: str, path: str) -> list[str]:
        references = [parameter.get("$ref", "") for parameter in OPERATIONS[method, path].get("parameters", [])]
        return [name for reference in references if "Idempotency" in (name := reference.rpartition("/")[2])]

    assert key_of("POST", "/v1/checkouts") == ["IdempotencyKeyRequired"]
    assert key_of("POST", "/v1/courses") == ["IdempotencyKey"]
    assert key_of("PATCH", "/v1/me") == []
    assert key_of("POST", "/v1/webhooks/stripe") == []


def test_error_responses_are_problem_json():
    for name, response in DOCUMENT["components"]["responses"].items():
        if name.startswith("Problem"):
            assert list(response["content"]) == ["application/problem+json"]


def fields_of_bodies(*, lists: bool = False) -> list[tuple[str, ma.fields.Field]]:
    found = []

    def walk(schema: ma.Schema, path: str) -> None:
        for name, field in schema.fields.items():
            inner = field.inner if isinstance(field, ma.fields.List) else field
            found.append((f"{path}/{name}", field if lists else inner))
            if isinstance(inner, ma.fields.Nested):
                walk(inner.schema, f"{path}/{name}")

    app = gateway()
    for view in app.view_functions.values():
        for method in getattr(view, "methods", None) or ():
            handler = getattr(getattr(view, "view_class", None), method.lower(), view)
            documented = getattr(handler, "_apidoc", {})
            for parameter in documented.get("arguments", {}).get("parameters", []):
                if parameter["in"] == "json":
                    schema = parameter["schema"]
                    walk(schema() if isinstance(schema, type) else schema, f"{method} {view.__name__}")
    return found


@pytest.mark.parametrize(("path", "field"), fields_of_bodies(), ids=lambda each: each if isinstance(each, str) else "")
def test_request_field_accepts_only_its_own_type(path: str, field: ma.fields.Field):
    if isinstance(field, ma.fields.Integer):
        assert field.strict, "use strict=True, which rejects 5.0 and true"
    if isinstance(field, ma.fields.Boolean):
        assert isinstance(field, Flag), "use api.schemas.Flag, which rejects 0 and 'no'"
    assert not isinstance(field, ma.fields.Float | ma.fields.Decimal), "money and counts are integers"


LISTS = [
    (path, field)
    for path, field in fields_of_bodies(lists=True)
    if isinstance(field, ma.fields.List) and not isinstance(field.inner, ma.fields.Nested)
]


@pytest.mark.parametrize(("path", "field"), LISTS, ids=lambda each: each if isinstance(each, str) else "")
def test_equal_items_of_a_list_are_refused(path: str, field: ma.fields.List):
    assert unique_items in field.validators


def schemas_of_bodies() -> dict[str, ma.Schema]:
    """Return the schemas of request bodies by their names in the document."""
    found = {}
    for view in gateway().view_functions.values():
        for method in getattr(view, "methods", None) or ():
            handler = getattr(getattr(view, "view_class", None), method.lower(), view)
            for parameter in getattr(handler, "_apidoc", {}).get("arguments", {}).get("parameters", []):
                if parameter["in"] == "json":
                    schema = parameter["schema"]
                    found[type(schema).__name__.removesuffix("Schema")] = schema
    return found


@pytest.mark.parametrize(("name", "schema"), schemas_of_bodies().items(), ids=str)
def test_every_request_schema_has_a_valid_example(name: str, schema: ma.Schema):
    assert name in openapi_examples.BODIES, "add an example to api/openapi_examples.py"
    schema.load(openapi_examples.BODIES[name])


def test_example_ids_exist_in_local_catalogue():
    slug = openapi_examples.PATH_PARAMETERS["ref"]
    made = {"course_id": (), "section_id": ("section-1",), "lesson_id": ("lesson-1-1",)}
    assert {
        name: str(id_of(slug, *path)) for name, path in made.items()
    }.items() <= openapi_examples.PATH_PARAMETERS.items()


def request_strings(schema: dict, name: str) -> list[tuple[str, dict]]:
    """Return the string fields of a request schema with their paths."""
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    found = [(name, schema)] if "string" in str(schema.get("type", "")) else []
    for field, nested in schema.get("properties", {}).items():
        found += request_strings(nested, f"{name}.{field}")
    for part in (schema.get("items"), *schema.get("allOf", []), *schema.get("anyOf", [])):
        found += request_strings(part, name) if part else []
    return found


def test_every_request_string_has_a_constraint():
    """A string without a pattern accepts control characters, which then reach mails, logs and pages."""
    unconstrained = {
        path_of_field
        for operation in OPERATIONS.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        for path_of_field, schema in request_strings(content["schema"], operation["operationId"])
        if not {"enum", "pattern", "format"} & schema.keys()
    }

    assert not unconstrained


CONTROL_CHARACTERS = ["\r\nBcc: x", "\n", "\x01", "\x7f", "\u2028", "\x00"]


@pytest.mark.parametrize(("path", "field"), fields_of_bodies(), ids=lambda each: each if isinstance(each, str) else "")
def test_request_text_contains_no_control_characters(path: str, field: ma.fields.Field):
    if not isinstance(field, ma.fields.Str):
        return
    for text in ("a", "A", "AAA", "en", "https://example.com/a"):
        for characters in CONTROL_CHARACTERS[2 if isinstance(field, Prose) else 0 :]:
            with pytest.raises(ma.ValidationError):
                field.deserialize(text + characters)


def test_every_list_is_paged():
    unpaged, lists = [], 0
    for (method, path), operation in OPERATIONS.items():
        content = operation["responses"].get("200", {}).get("content", {}) if method == "GET" else {}
        schema = content.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
        if "items" in DOCUMENT["components"]["schemas"].get(schema, {}).get("properties", {}):
            lists += 1
            names = {parameter.get("name") for parameter in operation["parameters"]}
            unpaged += [path] if not {"limit", "cursor"} <= names else []

    assert lists > 25
    assert unpaged == [
        "/v1/events"
    ]  # a feed without an end: it continues after the position that the client has stored


# Resources without versions: a completion and a position are set by the last device, a certificate by administrators.
UNVERSIONED = {
    ("PUT", "/v1/courses/{course_id}/reviews/{review_id}/reply"),
    ("PUT", "/v1/courses/{course_id}/lessons/{lesson_id}/completion"),
    ("PUT", "/v1/courses/{course_id}/lessons/{lesson_id}/position"),
    ("PUT", "/v1/courses/{course_id}/lessons/{lesson_id}/attempts/{attempt}/answers"),
    ("PATCH", "/v1/certificates/{code}"),
}


def test_every_change_of_a_versioned_resource_requires_if_match():
    changes = {each for each in OPERATIONS if each[0] in {"PUT", "PATCH"}}
    changes |= {each for each in OPERATIONS if each[1].endswith("/restore")}
    conditional = {
        each for each, operation in OPERATIONS.items() if "/IfMatch" in json.dumps(operation.get("parameters", []))
    }

    assert changes - conditional == UNVERSIONED


def test_everything_that_is_changed_by_version_can_be_read():
    changed = {
        path
        for (method, path), operation in OPERATIONS.items()
        if method in {"PUT", "PATCH"} and "IfMatch" in str(operation.get("parameters"))
    }
    read = {path for method, path in OPERATIONS if method == "GET"}

    assert changed - read == set()


def test_request_timestamps_use_the_bounded_field():
    sources = [path for path in Path("api").rglob("*.py") if path != Path("api/schemas.py")]

    assert not [path for path in sources if re.search(r"AwareDateTime|fields\.(Naive)?Date(Time)?\b", path.read_text())]
