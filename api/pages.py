"""Lists in pages: ``?limit=&cursor=``, a signed cursor, and the Link header that leads on.

A cursor holds the position of the last item shown, as the worker gave it, signed together with the list that it
belongs to: a client can neither read meaning into it nor take it to another list or another filter.
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
    """Loads as the position that it holds. Raises CursorInvalid."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        cursor = super()._deserialize(value, attr, data, **kwargs)
        try:
            signed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):  # not base64, or not ASCII
            raise CursorInvalid from None
        mac, position = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, _mac(position)):
            raise CursorInvalid
        return msgspec.json.decode(position)


class PageQuery(Schema):
    """The query of a list; a list with filters derives its own from it."""

    limit = ma.fields.Int(load_default=LIMIT_DEFAULT, validate=ma.validate.Range(min=1, max=LIMIT_MAX))
    after = Cursor(data_key="cursor", load_default=None)


def page_of(item: type[Schema]) -> type[ma.Schema]:
    """The schema of a page of ``item``."""
    fields: dict[str, ma.fields.Field[Any]] = {
        "items": ma.fields.List(ma.fields.Nested(item)),
        "next_cursor": ma.fields.Str(allow_none=True),
    }
    return Schema.from_dict(fields, name=f"{item.__name__.removesuffix('Schema')}Page")


def page(found: dict[str, Any]) -> Page:
    """Answer with ``found``: {"items": [...], "next": the last item's position, or None on the last page}."""
    if found["next"] is None:
        return {"items": found["items"], "next_cursor": None}, 200, {}
    cursor = _cursor(found["next"])
    query = [(name, value) for name, value in request.args.items(multi=True) if name != "cursor"]
    url = f"{settings.PUBLIC_URL}{request.path}?{urlencode([*query, ('cursor', cursor)])}"
    return {"items": found["items"], "next_cursor": cursor}, 200, {"Link": f'<{url}>; rel="next"'}


def _cursor(position: Any) -> str:
    encoded = msgspec.json.encode(position)
    return base64.urlsafe_b64encode(_mac(encoded) + encoded).decode().rstrip("=")


def _mac(position: bytes) -> bytes:
    filters = sorted((name, value) for name, value in request.args.items(multi=True) if name not in {"cursor", "limit"})
    signed = msgspec.json.encode(["cursor", request.path, filters]) + position
    return hmac.digest(settings.SECRET_KEY.encode(), signed, hashlib.sha256)[:_MAC_BYTES]
