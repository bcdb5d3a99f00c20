"""Read responses of later versions of the API, whose notifications may have further kinds."""

from typing import Any, TypeVar, get_args

import msgspec

from . import models

T = TypeVar("T")

_KNOWN_KINDS = {each.__struct_config__.tag for each in get_args(models.NotificationData)}


def decode(content: bytes, result: type[T]) -> T:
    """Return the JSON ``content`` as ``result``. The data of an unknown kind becomes UnknownNotificationData."""
    try:
        return msgspec.json.decode(content, type=result)
    except msgspec.ValidationError:
        return msgspec.convert(_with_known_kinds(msgspec.json.decode(content)), result)


def _with_known_kinds(part: Any) -> Any:
    if isinstance(part, list):
        return [_with_known_kinds(each) for each in part]
    if not isinstance(part, dict):
        return part
    data = part.get("data")
    if isinstance(data, dict) and "kind" in data and data["kind"] not in _KNOWN_KINDS:
        return {**part, "data": {"kind": "unknown", "fields": data}}
    return {name: _with_known_kinds(value) for name, value in part.items()}
