"""Cursor pagination: ``?limit=&cursor=``, with the next page in ``next_cursor`` and the Link header.

A cursor contains the worker's position of the last item. Its signature covers the position, the path and the filters,
so that clients cannot forge a cursor or use it with another list or other filters.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Any
from urllib.parse import urlencode

import marshmallow as ma
import msgspec
from flask import request

import settings
from models.errors import CursorInvalid

from .schemas import Schema

LIMIT_DEFAULT, LIMIT_MAX = 20, 100
_MAC_BYTES = 16

Page = tuple[dict[str, Any], int, dict[str, str]]


class Cursor(ma.fields.Str):
    """A field that deserializes a signed cursor into its position. Raises CursorInvalid."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        cursor = super()._deserialize(value, attr, data, **kwargs)
        try:
            signed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):  # invalid base64 or not ASCII
            raise CursorInvalid from None
        mac, position = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, _mac(position)):
            raise CursorInvalid
        return msgspec.json.decode(position)


class PageQuery(Schema):
    """The query of a list. Lists with filters derive their own schema from it."""

    limit = ma.fields.Int(load_default=LIMIT_DEFAULT, validate=ma.validate.Range(min=1, max=LIMIT_MAX))
    after = Cursor(data_key="cursor", load_default=None)


def page_schema(item: type[Schema]) -> type[ma.Schema]:
    """Create the schema of a page with items of the schema ``item``."""
    fields: dict[str, ma.fields.Field[Any]] = {
        "items": ma.fields.List(ma.fields.Nested(item)),
        "next_cursor": ma.fields.Str(allow_none=True),
    }
    return Schema.from_dict(fields, name=f"{item.__name__.removesuffix('Schema')}Page")


def page_response(found: dict[str, Any]) -> Page:
    """Return body, status and headers of a page.

    ``found`` has ``items``, and ``next``: the position of the last item, or None on the last page.
    """
    if found["next"] is None:
        return {"items": found["items"], "next_cursor": None}, 200, {}
    cursor = _encode_cursor(found["next"])
    query = [(name, value) for name, value in request.args.items(multi=True) if name != "cursor"]
    url = f"{settings.PUBLIC_URL}{request.path}?{urlencode([*query, ('cursor', cursor)])}"
    return {"items": found["items"], "next_cursor": cursor}, 200, {"Link": f'<{url}>; rel="next"'}


def _encode_cursor(position: Any) -> str:
    encoded = msgspec.json.encode(position)
    return base64.urlsafe_b64encode(_mac(encoded) + encoded).decode().rstrip("=")


def _mac(position: bytes) -> bytes:
    filters = sorted((name, value) for name, value in request.args.items(multi=True) if name not in {"cursor", "limit"})
    signed = msgspec.json.encode(["cursor", request.path, filters]) + position
    return hmac.digest(settings.SECRET_KEY.encode(), signed, hashlib.sha256)[:_MAC_BYTES]
