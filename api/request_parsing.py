"""Strict parsing of request bodies and queries: unknown fields are refused, never ignored.

A body that is not valid JSON gets a 400; valid JSON that does not match its schema gets a 422 with JSON pointers. Both
apply to every route of an ``api.blueprints.Blueprint``, including routes that take no body or query.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

import marshmallow as ma
from flask import Flask, Request, request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]  # it ships no types
from webargs import missing
from webargs.flaskparser import FlaskParser, abort
from werkzeug.exceptions import BadRequest, NotFound, RequestEntityTooLarge, UnsupportedMediaType

from .schemas import Schema

BODY_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 20  # of nested arrays and objects; the deepest valid body has 6
_DIGITS_MAX = 40

# NUL and lone surrogates: valid in JSON, but PostgreSQL and MongoDB cannot store them.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class BoundedRequest(Request):
    """A request whose body has at most BODY_BYTES_MAX bytes; reading a longer one raises RequestEntityTooLarge."""

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        try:
            data = super().get_data(*args, **kwargs)
        except (ParseException, OSError) as error:  # invalid chunk size, or the connection closed within the body
            raise BadRequest("The body is not valid HTTP, or is incomplete.") from error
        if len(data) > BODY_BYTES_MAX:
            raise RequestEntityTooLarge
        return data


def init_app(app: Flask) -> None:
    """Limit the body size of requests to ``app``, and answer 404 for paths with characters that cannot be stored."""
    app.request_class = BoundedRequest
    # werkzeug silently truncates a chunked body at its limit. One byte more than BODY_BYTES_MAX reveals the truncation.
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX + 1
    app.before_request(_reject_unstorable_path)


def declared_locations(view: Callable[..., Any]) -> frozenset[str]:
    """Return the locations of the arguments of ``view``: ``json``, ``query``."""
    documented = getattr(view, "_apidoc", {}).get("arguments", {}).get("parameters", [])
    return frozenset(parameter["in"] for parameter in documented)


def reject_unexpected_input(
    declared: frozenset[str], *, raw_body: bool, query_names: frozenset[str] = frozenset()
) -> None:
    """Refuse a query or a body that the view does not take; ``query_names`` are taken without being declared.

    Raises BadRequest, UnsupportedMediaType, and UnprocessableEntity with the unknown fields.
    """
    if "query" not in declared and request.query_string:
        _reject_undecodable_query()
        _reject_unknown_fields("query", [name for name in request.args if name not in query_names])
    if "json" not in declared and not raw_body and request.method not in {"GET", "HEAD"} and request.get_data():
        body = parse_json_body(request)
        _reject_unknown_fields("json", body if isinstance(body, dict) else {"_schema": body})


def parse_json_body(req: Request) -> Any:
    """Return the parsed JSON body. Raises UnsupportedMediaType, BadRequest, RequestEntityTooLarge."""
    body = req.get_data(cache=True)
    if not req.is_json:
        raise UnsupportedMediaType("Send the body as JSON: Content-Type: application/json.")
    try:
        value = _DECODER.decode(body.decode())
        _reject_excess_depth(value, DEPTH_MAX)
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
            return parse_json_body(req)
        if isinstance(schema, Schema) and schema.body_required:
            raise BadRequest("Send a JSON body.")
        return missing

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        _reject_undecodable_query()
        _reject_repeated_parameters(req, schema)
        return super().load_querystring(req, schema)

    def pre_load(self, location_data: Any, *, schema: ma.Schema, req: Request, location: str) -> Any:  # noqa: ARG002 webargs' signature
        values = dict(location_data) if location == "query" else location_data
        if unstorable := dict(_unstorable_texts(values)):
            _reject(location, unstorable)
        return location_data


def _reject_duplicate_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        # Parsers differ in which duplicate they take, so a firewall and this gateway could read different values.
        raise ValueError(f"duplicate member {twice[:100]!r}")
    return members


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")


def _parse_integer(digits: str) -> int | float:
    # int() raises on thousands of digits. An integer field refuses the float with a pointer to the field.
    return int(digits) if len(digits) <= _DIGITS_MAX else float("inf")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_reject_duplicate_members, parse_constant=_reject_constant, parse_int=_parse_integer
)
_TOO_DEEP = f"The body is nested deeper than {DEPTH_MAX} levels."


def _reject_excess_depth(value: Any, levels: int) -> None:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if members and not levels:
        raise BadRequest(_TOO_DEEP)
    for member in members:
        if isinstance(member, dict | list):
            _reject_excess_depth(member, levels - 1)


def _unstorable_texts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield an error message per text that cannot be stored, nested like marshmallow's messages."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        if isinstance(member, str):
            if _UNSTORABLE.search(member):
                yield name, ["Contains characters that cannot be stored."]
        elif nested := dict(_unstorable_texts(member)):
            yield name, nested
        if isinstance(name, str) and _UNSTORABLE.search(name):
            yield name.encode("ascii", "backslashreplace").decode(), ["Unknown field."]


def _reject_unknown_fields(location: str, fields: Collection[str]) -> None:
    if fields:
        _reject(location, {name: ["Unknown field."] for name in fields})


def _reject(location: str, messages: dict[Any, Any]) -> NoReturn:
    abort(422, messages={location: messages})


def _reject_undecodable_query() -> None:
    try:
        unquote_to_bytes(request.query_string).decode()
    except UnicodeDecodeError:
        raise BadRequest("The query is not UTF-8.") from None


def _reject_repeated_parameters(req: Request, schema: ma.Schema) -> None:
    """Refuse a repeated parameter of a single-valued field: servers and proxies differ in which one they take."""
    lists = {field.data_key or name for name, field in schema.fields.items() if isinstance(field, ma.fields.List)}
    repeated = {
        name: ["Given more than once."] for name, values in req.args.lists() if len(values) > 1 and name not in lists
    }
    if repeated:
        _reject("query", repeated)


def _reject_unstorable_path() -> None:
    if _UNSTORABLE.search(request.path):
        raise NotFound
