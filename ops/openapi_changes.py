"""Find changes of an OpenAPI document that break clients: ``python -m ops.openapi_changes OLD NEW``.

Within a version of the API, responses, events and enums may gain members (api/templates/introduction.md). What a client
relies on may not disappear: operations, fields of responses, and requests that were accepted.
"""

import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from core import command_line

Json = dict[str, Any]
_USAGE_ERROR = 2


def find_breaking_changes(old: Json, new: Json) -> list[str]:
    """Return one line for each change from ``old`` to ``new`` that can break a client."""
    return list(dict.fromkeys(_Comparison(old, new).changes()))


class _Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self._old, self._new = old, new
        self._compared: set[tuple[str, str, bool]] = set()  # pairs of schemas; they can refer to themselves

    def changes(self) -> Iterator[str]:
        after = {(path, method): operation for path, method, operation in _operations(self._new)}
        for path, method, operation in _operations(self._old):
            name = f"{method.upper()} {path}"
            if (path, method) not in after:
                yield f"{name}: removed"
            else:
                yield from self._operation(name, operation, after[path, method])

    def _operation(self, name: str, old: Json, new: Json) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{name}: the operation {old['operationId']} is named {new['operationId']}"
        for permission in set(new.get("x-permissions", [])) - set(old.get("x-permissions", [])):
            yield f"{name}: requires the permission {permission}"
        yield from self._parameters(name, old, new)
        before, after = _body(old), _body(new)
        if before and not after:
            yield f"{name}: takes no body"
        if new.get("requestBody", {}).get("required") and not old.get("requestBody", {}).get("required"):
            yield f"{name}: the body is required"
        if before and after:
            yield from self._schema(f"{name}: body", before, after, is_sent=True)
        yield from self._responses(name, old, new)

    def _responses(self, name: str, old: Json, new: Json) -> Iterator[str]:
        for status, declared in old["responses"].items():
            if not status.startswith("2"):
                continue
            if status not in new["responses"]:
                yield f"{name}: the response {status} is removed"
                continue
            before = _body(_resolve(self._old, declared))
            after = _body(_resolve(self._new, new["responses"][status]))
            if before and not after:
                yield f"{name}: the response {status} has no body"
            elif before and after:
                yield from self._schema(f"{name}: response", before, after, is_sent=False)

    def _parameters(self, name: str, old: Json, new: Json) -> Iterator[str]:
        before, after = _parameters(self._old, old), _parameters(self._new, new)
        for key in before.keys() - after.keys():
            yield f"{name}: the {key[0]} parameter {key[1]} is removed"
        for key, parameter in after.items():
            if parameter.get("required") and not before.get(key, {}).get("required"):
                yield f"{name}: the {key[0]} parameter {key[1]} is required"
            if key in before:
                where = f"{name}: parameter {key[1]}"
                yield from self._schema(where, before[key].get("schema", {}), parameter.get("schema", {}), is_sent=True)

    def _schema(self, where: str, old: Json, new: Json, *, is_sent: bool) -> Iterator[str]:
        """Compare two schemas; ``is_sent`` means that clients send the value, otherwise they receive it."""
        names = (old.get("$ref", ""), new.get("$ref", ""))
        if all(names):
            if (*names, is_sent) in self._compared:
                return
            self._compared.add((*names, is_sent))
            where = names[0].rpartition("/")[2]
        old, new = _resolve(self._old, old), _resolve(self._new, new)
        lost = (
            _types(self._old, old) - _types(self._new, new)
            if is_sent
            else _types(self._new, new) - _types(self._old, old)
        )
        if lost and _types(self._old, old) and _types(self._new, new):
            yield f"{where}: {'no longer takes' if is_sent else 'may now be'} {', '.join(sorted(lost))}"
        if is_sent and "enum" in old and "enum" in new:
            for value in sorted(set(old["enum"]) - set(new["enum"]), key=str):
                yield f"{where}: no longer takes the value {value}"
        yield from self._fields(where, old, new, is_sent=is_sent)
        if "items" in old and "items" in new:
            yield from self._schema(f"{where}[]", old["items"], new["items"], is_sent=is_sent)

    def _fields(self, where: str, old: Json, new: Json, *, is_sent: bool) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for field in before.keys() - after.keys():
            yield f"{where}: the field {field} is removed"
        must_before, must_after = set(old.get("required", [])), set(new.get("required", []))
        if is_sent:
            for field in sorted(must_after - must_before):
                yield f"{where}: the field {field} is required"
        else:
            for field in sorted((must_before - must_after) & after.keys()):
                yield f"{where}: the field {field} may be missing"
        for field in before.keys() & after.keys():
            yield from self._schema(f"{where}.{field}", before[field], after[field], is_sent=is_sent)


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        common = methods.get("parameters", [])
        for method, operation in methods.items():
            if method != "parameters":
                yield path, method, operation | {"parameters": [*common, *operation.get("parameters", [])]}


def _parameters(document: Json, operation: Json) -> dict[tuple[str, str], Json]:
    resolved = [_resolve(document, each) for each in operation["parameters"]]
    return {(each["in"], each["name"]): each for each in resolved}


def _body(part: Json) -> Json:
    content = part.get("requestBody", part).get("content", {})
    schema: Json = content.get("application/json", {}).get("schema", {})
    return schema


def _resolve(document: Json, part: Json) -> Json:
    while "$ref" in part:
        found: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def _types(document: Json, schema: Json) -> set[str]:
    """Return the JSON types of a schema; empty if it allows all."""
    schema = _resolve(document, schema)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return set(chain.from_iterable(_types(document, each) for each in choices))
    declared = schema.get("type", [])
    return {declared} if isinstance(declared, str) else set(declared)


def main(arguments: list[str]) -> int:
    """Print the breaking changes between two documents; return 1 if there are any."""
    if len(arguments) != 2:  # noqa: PLR2004 the old and the new document
        sys.stderr.write("usage: python -m ops.openapi_changes OLD NEW\n")
        return _USAGE_ERROR
    old, new = (json.loads(Path(each).read_text()) for each in arguments)
    found = find_breaking_changes(old, new)
    sys.stdout.writelines(f"{change}\n" for change in found)
    return 1 if found else 0


if __name__ == "__main__":
    command_line.run(lambda: main(sys.argv[1:]))
