"""Strict parsing of request bodies and queries: unknown fields are refused, never ignored.

A body that is not valid JSON gets a 400; valid JSON that does not match its schema gets a 422 with JSON pointers. Both
apply to every route of an ``api.blueprints.Blueprint``, including routes that take no body or query.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

import marshmallow as ma
from flask import Flask, Request, request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]  # it ships no types
from webargs import missing
from webargs.flaskparser import FlaskParser, abort
from werkzeug.exceptions import BadRequest, NotFound, RequestEntityTooLarge, UnsupportedMediaType

BODY_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 20  # of nested arrays and objects; the deepest valid body has 6
_DIGITS_MAX = 40

# NUL and lone surrogates: valid in JSON, but PostgreSQL and MongoDB cannot store them.
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


class BoundedRequest(Request):
    """A request whose body has at most BODY_BYTES_MAX bytes; reading a longer one raises RequestEntityTooLarge."""

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        try:
            data = super().get_data(*args, **kwargs)
        except (ParseException, OSError) as error:  # invalid chunk size, or the connection closed within the body
            raise BadRequest("The body is not valid HTTP, or was not sent whole.") from error
        if len(data) > BODY_BYTES_MAX:
            raise RequestEntityTooLarge
        return data


def add_to(app: Flask) -> None:
    """Limit the body size of requests to ``app``, and answer 404 for paths with characters that cannot be stored."""
    app.request_class = BoundedRequest
    # werkzeug silently truncates a chunked body at its limit. One byte more than BODY_BYTES_MAX reveals the truncation.
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX + 1
    app.before_request(_refuse_unwritable_path)


def taken_by(view: Callable[..., Any]) -> frozenset[str]:
    """Return the locations of the arguments of ``view``: ``json``, ``query``."""
    documented = getattr(view, "_apidoc", {}).get("arguments", {}).get("parameters", [])
    return frozenset(parameter["in"] for parameter in documented)


def refuse_what_is_not_read(taken: frozenset[str], *, raw_body: bool) -> None:
    """Refuse a query or a body that the view does not take.

    Raises BadRequest, UnsupportedMediaType, and UnprocessableEntity with the unknown fields.
    """
    if "query" not in taken and request.query_string:
        _refuse_unreadable_query()
        _refuse_fields("query", request.args)
    if "json" not in taken and not raw_body and request.method not in {"GET", "HEAD"} and request.get_data():
        body = parsed_body(request)
        _refuse_fields("json", body if isinstance(body, dict) else {"_schema": body})


def parsed_body(req: Request) -> Any:
    """Return the parsed JSON body. Raises UnsupportedMediaType, BadRequest, RequestEntityTooLarge."""
    body = req.get_data(cache=True)
    if not req.is_json:
        raise UnsupportedMediaType("Send the body as JSON: Content-Type: application/json.")
    try:
        value = _DECODER.decode(body.decode())
        _refuse_depth(value, DEPTH_MAX)
    except RecursionError:
        raise BadRequest(_TOO_DEEP) from None
    except ValueError as error:  # base class of UnicodeDecodeError and JSONDecodeError
        raise BadRequest(f"The body is not valid JSON: {error}.") from None
    return value


class StrictParser(FlaskParser):
    """A webargs parser with strict JSON that also refuses unknown and repeated query parameters."""

    # None: the schema decides, and api.schemas.Schema raises on unknown fields.
    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": None, "json": None}  # noqa: RUF012 as webargs has it

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        if req.get_data(cache=True):
            return parsed_body(req)
        if getattr(schema, "stands_for_a_body", False):
            raise BadRequest("Send a body of JSON.")
        return missing

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        _refuse_unreadable_query()
        _refuse_repeated(req, schema)
        return super().load_querystring(req, schema)

    def pre_load(self, location_data: Any, *, schema: ma.Schema, req: Request, location: str) -> Any:  # noqa: ARG002 webargs' signature
        values = dict(location_data) if location == "query" else location_data
        if unwritable := dict(_unwritable(values)):
            _refuse(location, unwritable)
        return location_data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        # Parsers differ in which duplicate they take, so a firewall and this gateway could read different values.
        raise ValueError(f"the member {twice[:100]!r} stands there twice")
    return members


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _integer(digits: str) -> int | float:
    # int() raises on thousands of digits. An integer field refuses the float with a pointer to the field.
    return int(digits) if len(digits) <= _DIGITS_MAX else float("inf")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_not_json, parse_int=_integer)
_TOO_DEEP = f"The body is nested deeper than {DEPTH_MAX} levels."


def _refuse_depth(value: Any, levels: int) -> None:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if members and not levels:
        raise BadRequest(_TOO_DEEP)
    for member in members:
        if isinstance(member, dict | list):
            _refuse_depth(member, levels - 1)


def _unwritable(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield an error message per text that cannot be stored, nested like marshmallow's messages."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        if isinstance(member, str):
            if _UNWRITABLE.search(member):
                yield name, ["It has characters that cannot be kept."]
        elif nested := dict(_unwritable(member)):
            yield name, nested
        if isinstance(name, str) and _UNWRITABLE.search(name):
            yield name.encode("ascii", "backslashreplace").decode(), ["Unknown field."]


def _refuse_fields(location: str, fields: dict[str, Any]) -> None:
    if fields:
        _refuse(location, {name: ["Unknown field."] for name in fields})


def _refuse(location: str, messages: dict[Any, Any]) -> NoReturn:
    abort(422, messages={location: messages})


def _refuse_unreadable_query() -> None:
    try:
        unquote_to_bytes(request.query_string).decode()
    except UnicodeDecodeError:
        raise BadRequest("The query is not UTF-8.") from None


def _refuse_repeated(req: Request, schema: ma.Schema) -> None:
    """Refuse a repeated parameter of a single-valued field: servers and proxies differ in which one they take."""
    lists = {field.data_key or name for name, field in schema.fields.items() if isinstance(field, ma.fields.List)}
    repeated = {
        name: ["Given more than once."] for name, values in req.args.lists() if len(values) > 1 and name not in lists
    }
    if repeated:
        _refuse("query", repeated)


def _refuse_unwritable_path() -> None:
    if _UNWRITABLE.search(request.path):
        raise NotFound
