"""Write the generated modules of the Python client: ``make client``.

``models.py`` has the types of docs/openapi.json, ``_operations.py`` a method for each of its operations. Both are
committed; tests/unit/clients/test_generated.py compares them with the document.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill, indent
from typing import Any

import datamodel_code_generator as generator
from datamodel_code_generator.enums import DataModelType, InputFileType

from ops.generate_openapi import OPENAPI
from settings import ROOT

PACKAGE = ROOT / "clients" / "python" / "src" / "coursebus"

# Servers validate; a client that did so too would refuse what a later version of the API allows.
_VALIDATION = {"pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "uniqueItems"}
# Operations for programs other than clients: webhooks of providers, a browser's pages, health checks, a stream, and
# verifiers of badges.
_EXCLUDED_TAGS = {"health", "badges"}
_EXCLUDED = {"getCover", "streamNotifications", "showUnsubscribePage", "unsubscribe", "listEvents"}
_METHODS = ("get", "post", "put", "patch", "delete")


def models() -> str:
    """Return the module with the types."""
    document = _without_validation(json.loads(OPENAPI.read_text()))
    schemas = document["components"]["schemas"]
    _add_unknown_kind(schemas)
    enums = {name for name, schema in schemas.items() if "enum" in schema}
    sent = _sent_by_clients(document)
    for name, schema in schemas.items():
        if name not in sent and name not in enums:
            schemas[name] = _with_open_enums(schema, enums)
    with TemporaryDirectory() as directory:
        output = Path(directory) / "models.py"
        generator.generate(
            json.dumps(document),
            input_filename="docs/openapi.json",
            input_file_type=InputFileType.OpenAPI,
            output=output,
            output_model_type=DataModelType.MsgspecStruct,
            target_python_version=generator.PythonVersion.PY_311,
            enum_field_as_literal=generator.LiteralType.All,
            keyword_only=True,
            snake_case_field=True,
            use_schema_description=True,
            use_standard_collections=True,
            use_union_operator=True,
            use_annotated=False,
            disable_timestamp=True,
            custom_file_header='"""Types of the requests, responses and events of the API. Generated: make client."""',
            formatters=[generator.Formatter.BUILTIN],
        )
        return _formatted(output.read_text())


def _add_unknown_kind(schemas: dict[str, Any]) -> None:
    """Add the type that the client gives to the data of notifications of later versions of the API."""
    name, any_data = "UnknownNotificationData", schemas["NotificationData"]
    schemas[name] = {
        "type": "object",
        "description": "What the server sent about a notification whose kind this version does not know.",
        "properties": {"kind": {"type": "string", "const": "unknown"}, "fields": {"type": "object"}},
        "required": ["kind", "fields"],
    }
    reference = f"#/components/schemas/{name}"
    any_data["oneOf"].append({"$ref": reference})
    any_data["discriminator"]["mapping"]["unknown"] = reference


def operations() -> str:
    """Return the module with the methods, once for each client."""
    found = [
        _Operation.parse(method, path, operation, described.get("parameters", []))
        for path, described in json.loads(OPENAPI.read_text())["paths"].items()
        for method, operation in described.items()
        if method in _METHODS and _is_for_clients(operation)
    ]
    found.sort(key=lambda each: each.name)
    classes = (_class(found, is_async=False), _class(found, is_async=True))
    return _formatted(_HEADER + "\n\n".join(classes))


_HEADER = '''"""A method for each operation of the API. Generated: make client."""

from collections.abc import Sequence
from typing import Literal, TypeVar

from . import models
from ._pages import AsyncPages, Pages
from ._requests import Id, Request, Versioned, key_header, path, version_header

T = TypeVar("T")


'''


@dataclass(frozen=True)
class _Operation:
    name: str
    method: str
    template: str  # of the path, with {} for each part
    parts: dict[str, dict[str, Any]]  # schemas of the parameters in the path, by name
    body: str | None
    body_required: bool
    query: dict[str, dict[str, Any]]
    headers: set[str]
    result: str | None
    may_be_empty: bool
    text: str

    @classmethod
    def parse(cls, method: str, path: str, operation: dict[str, Any], shared: list[dict[str, Any]]) -> "_Operation":
        parameters = [*shared, *operation.get("parameters", [])]
        in_path = {each["name"]: each["schema"] for each in parameters if each.get("in") == "path"}
        content = operation.get("requestBody", {}).get("content", {})
        responses = {int(status): response for status, response in operation["responses"].items()}
        schema = _success(responses).get("content", {}).get("application/json", {}).get("schema", {})
        return cls(
            name=_snake(operation["operationId"]),
            method=method.upper(),
            template=re.sub(r"\{\w+\}", "{}", path),
            parts={name: in_path.get(name, {}) for name in re.findall(r"\{(\w+)\}", path)},
            body=_referenced(content.get("application/json", {}).get("schema", {})),
            body_required=operation.get("requestBody", {}).get("required", True),
            query={each["name"]: each["schema"] for each in parameters if each.get("in") == "query"},
            headers={_referenced(each) or "" for each in parameters},
            result=_referenced(schema),
            may_be_empty=HTTPStatus.NO_CONTENT in responses,
            text=f"{operation['summary']}.\n\n{operation.get('description', '')}".strip(),
        )

    @property
    def is_list(self) -> bool:
        return "cursor" in self.query

    def render(self, *, is_async: bool) -> str:
        pages = "AsyncPages" if is_async else "Pages"
        asynchronous = "" if self.is_list or not is_async else "async "
        result = f"{pages}[models.{self._item}]" if self.is_list else self._result
        lines = [f"{asynchronous}def {self.name}({', '.join(self._arguments())}) -> {result}:"]
        lines.append(indent(f'"""{_docstring(self.text)}"""', "    "))
        request = f"Request({', '.join(self._request())})"
        if self.is_list:
            call = f"{pages}(self._send, {request})"
        else:
            call = f"{'await ' if is_async else ''}self._send({request})"
        lines.append(f"    {'return ' if self.result else ''}{call}")
        return "\n".join(lines)

    @property
    def _item(self) -> str:
        items = json.loads(OPENAPI.read_text())["components"]["schemas"][self.result]["properties"]["items"]["items"]
        return _referenced(items) or ""

    @property
    def _result(self) -> str:
        if self.result is None:
            return "None"
        return f"models.{self.result} | None" if self.may_be_empty else f"models.{self.result}"

    def _arguments(self) -> list[str]:
        arguments = ["self", *(f"{name}: {_path_type(schema)}" for name, schema in self.parts.items())]
        if self.body:
            arguments.append(f"body: models.{self.body}{'' if self.body_required else ' | None = None'}")
        named = []
        if "IfMatch" in self.headers:
            named.append("if_match: int | Versioned")
        named += [f"{_snake(name)}: {_type(schema)} | None = None" for name, schema in self._filters.items()]
        if "IfMatchOptional" in self.headers:
            named.append("if_match: int | Versioned | None = None")
        if self._has_key:
            named.append("idempotency_key: str | None = None")
        return [*arguments, *(["*", *named] if named else [])]

    @property
    def _filters(self) -> dict[str, dict[str, Any]]:
        return {name: schema for name, schema in self.query.items() if name != "cursor"}

    @property
    def _has_key(self) -> bool:
        return bool({"IdempotencyKey", "IdempotencyKeyRequired"} & self.headers)

    def _request(self) -> list[str]:
        parts = [f'"{self.method}"', ", ".join([f'path("{self.template}"', *self.parts]) + ")"]
        parts.append(f"models.{self.result}" if self.result else "None")
        if self._filters:
            named = (f'"{name}": {_snake(name)}' for name in self._filters)
            parts.append(f"query={{{', '.join(named)}}}")
        if self.body:
            parts.append("body=body")
        headers = ["version_header(if_match)"] if {"IfMatch", "IfMatchOptional"} & self.headers else []
        headers += ["key_header(idempotency_key)"] if self._has_key else []
        if headers:
            parts.append(f"headers={' | '.join(headers)}")
        return parts


def _class(found: list[_Operation], *, is_async: bool) -> str:
    name, keyword = ("AsyncOperations", "async ") if is_async else ("Operations", "")
    send = f"    {keyword}def _send(self, request: Request[T]) -> T:\n        raise NotImplementedError\n"
    methods = [indent(each.render(is_async=is_async), "    ") for each in found]
    kind = "asynchronous" if is_async else "synchronous"
    return f'class {name}:\n    """The operations of the {kind} client."""\n\n{send}\n' + "\n\n".join(methods) + "\n"


def _success(responses: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the response to a request without Prefer; 202 only where the operation is always asynchronous."""
    if HTTPStatus.NO_CONTENT in responses and HTTPStatus.OK not in responses:
        return {}
    return next(
        responses[status] for status in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED) if status in responses
    )


def _is_for_clients(operation: dict[str, Any]) -> bool:
    name = operation["operationId"]
    is_incoming = name.startswith("receive")
    return not (is_incoming or name in _EXCLUDED or _EXCLUDED_TAGS & set(operation["tags"]))


def _sent_by_clients(document: dict[str, Any]) -> set[str]:
    """Return the names of the schemas of request bodies and of the schemas below them."""
    schemas = document["components"]["schemas"]
    bodies = (
        operation.get("requestBody")
        for described in document["paths"].values()
        for operation in described.values()
        if isinstance(operation, dict)
    )
    found: set[str] = set()
    waiting = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(list(bodies))))
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= set(re.findall(r"#/components/schemas/(\w+)", json.dumps(schemas[name]))) - found
    return found


def _without_validation(part: Any) -> Any:
    if isinstance(part, dict):
        described = {"description", "example"} if "type" in part and "properties" not in part else set()
        return {
            name: _without_validation(value)
            for name, value in part.items()
            if not (name in _VALIDATION | described and not isinstance(value, dict))
        }
    return [_without_validation(each) for each in part] if isinstance(part, list) else part


def _with_open_enums(part: Any, enums: set[str]) -> Any:
    """Replace enums by strings: later versions of the API may answer with further values."""
    if isinstance(part, dict):
        if _referenced(part) in enums:
            return {"type": "string"}
        return {name: _with_open_enums(value, enums) for name, value in part.items()}
    return [_with_open_enums(each, enums) for each in part] if isinstance(part, list) else part


def _referenced(part: dict[str, Any]) -> str | None:
    return part.get("$ref", "").rpartition("/")[2] or None


def _type(schema: dict[str, Any]) -> str:
    if name := _referenced(schema):
        return f"models.{name}"
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    if schema.get("type") == "array":
        return f"Sequence[{_type(schema['items'])}]"
    return {"integer": "int", "boolean": "bool"}.get(schema.get("type", ""), "Id" if _is_id(schema) else "str")


def _path_type(schema: dict[str, Any]) -> str:
    return "int" if schema.get("type") == "integer" else "Id"


def _is_id(schema: dict[str, Any]) -> bool:
    return schema.get("format") == "uuid"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def _docstring(text: str) -> str:
    first, _, rest = text.replace("\\", "\\\\").partition("\n\n")
    paragraphs = [fill(each.replace("\n", " "), 100) for each in rest.split("\n\n") if each]
    return first if not paragraphs else "\n\n".join([first, *paragraphs]) + "\n"


def _formatted(source: str) -> str:
    """Return ``source`` as ruff formats it."""
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    name = ["--stdin-filename", str(PACKAGE / "generated.py")]
    source = subprocess.run(
        [*ruff, "check", "--select", "F401,I,UP", "--fix", "--quiet", *name, "-"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    return subprocess.run(
        [*ruff, "format", "--quiet", *name, "-"], input=source, capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


if __name__ == "__main__":
    (PACKAGE / "models.py").write_text(models())
    (PACKAGE / "_operations.py").write_text(operations())
