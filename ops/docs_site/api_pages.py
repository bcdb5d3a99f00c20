"""Write one page of the reference for each tag of the OpenAPI document, and one for its schemas."""

import json
from typing import Any

Json = dict[str, Any]


def api_pages(openapi: Json) -> dict[str, str]:
    """Return the pages by file name."""
    return {
        **{f"api-{tag['name']}.md": _tag_page(openapi, tag) for tag in openapi["tags"]},
        "schemas.md": _schemas(openapi),
    }


def _tag_page(openapi: Json, tag: Json) -> str:
    lines = [f"# API: {tag['name']}", "", tag["description"]]
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            if method != "parameters" and tag["name"] in operation["tags"]:
                lines += _operation(openapi, path, method, operation, methods.get("parameters", []))
    return "\n".join(lines) + "\n"


def _operation(openapi: Json, path: str, method: str, operation: Json, common: list[Json]) -> list[str]:
    lines = ["", f"({operation['operationId']})=", f"## {operation['summary']}", ""]
    lines += [f"`{method.upper()} {path}` · `{operation['operationId']}`", ""]
    lines += [*_paragraph(operation.get("description", "")), _access(operation), ""]
    parameters = [_resolve(openapi, each) for each in (*common, *operation.get("parameters", []))]
    if parameters:
        lines += ["| parameter | in | type | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{each['name']}`{', required' if each.get('required') and each['in'] != 'path' else ''} | {each['in']} "
            f"| {type_of(each.get('schema', {}))} | {_cell(each.get('description', ''))} |"
            for each in parameters
        ]
        lines.append("")
    lines += _body(operation)
    return lines + _responses(openapi, operation)


def _access(operation: Json) -> str:
    if not operation.get("security"):
        return "Anyone may call it."
    permissions = [f"`{each}`" for each in operation.get("x-permissions", [])]
    who = f"Permission: {' or '.join(permissions)}." if permissions else "Every signed-in person may call it."
    return f"{who} Machine-to-machine tokens are {'accepted' if operation.get('x-machines') else 'not accepted'}."


def _body(operation: Json) -> list[str]:
    lines: list[str] = []
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += [f"**Body** (`{media}`): {type_of(content.get('schema', {}))}", ""]
        if "example" in content:
            lines += ["```json", json.dumps(content["example"], indent=2, ensure_ascii=False), "```", ""]
    return lines


def _responses(openapi: Json, operation: Json) -> list[str]:
    lines, problems = ["| status | response |", "|---|---|"], []
    for status, declared in operation["responses"].items():
        response = _resolve(openapi, declared)
        if "application/problem+json" in response.get("content", {}):
            problems.append(f"`{status}`")
            continue
        kinds = [
            f"{type_of(each['schema'])} (`{media}`)" if media != "application/json" else type_of(each["schema"])
            for media, each in response.get("content", {}).items()
            if "schema" in each
        ]
        lines.append(f"| {status} | {', '.join(kinds) or _cell(response.get('description', ''))} |")
    if problems:
        lines.append(f"| {', '.join(problems)} | a [problem](../../errors.md) |")
    return lines


def _schemas(openapi: Json) -> str:
    lines = ["# API: schemas", "", "The objects of requests and responses."]
    for name, schema in sorted(openapi["components"]["schemas"].items()):
        lines += ["", f"(schema-{name.lower()})=", f"## {name}", "", *_paragraph(schema.get("description", ""))]
        if "enum" in schema:
            lines += ["One of " + ", ".join(f"`{each}`" for each in schema["enum"]) + "."]
        elif schema.get("properties"):
            required = set(schema.get("required", []))
            lines += ["| field | type | meaning |", "|---|---|---|"]
            lines += [
                f"| `{field}`{'' if field in required else ', optional'} | {type_of(each)} | {_meaning(each)} |"
                for field, each in schema["properties"].items()
            ]
        else:
            lines += [type_of(schema)]
    return "\n".join(lines) + "\n"


def type_of(schema: Json) -> str:
    """Return the type of a schema for a cell of a table, with a link to the schema that it refers to."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#schema-{name.lower()})"
    for word in ("oneOf", "anyOf", "allOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(type_of(each) for each in schema[word]))
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    kinds = schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type", "any value")]
    shown = [f"list of {type_of(schema.get('items', {}))}" if kind == "array" else kind for kind in kinds]
    if schema.get("format") and shown[0] == "string":
        shown[0] = schema["format"]
    return " or ".join(shown)


def _meaning(schema: Json) -> str:
    limits = {
        "minimum": "at least {}",
        "maximum": "at most {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "maxItems": "at most {} items",
    }
    said = [text.format(schema[word]) for word, text in limits.items() if word in schema]
    return _cell(" ".join([schema.get("description", ""), f"({', '.join(said)})" if said else ""]))


def _resolve(openapi: Json, value: Json) -> Json:
    if "$ref" not in value:
        return value
    found: Any = openapi
    for step in value["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _paragraph(text: str) -> list[str]:
    return [text, ""] if text else []


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
