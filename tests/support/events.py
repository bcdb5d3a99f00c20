"""Builder of events for tests that do not depend on the fields."""

import types
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from core.db import new_id, utc_now


def build_event(kind: type, **given: Any) -> Any:
    """Return an instance of the dataclass ``kind`` with the ``given`` fields and default values for the others."""
    hints = get_type_hints(kind)
    missing = [field.name for field in fields(kind) if field.default is MISSING and field.name not in given]
    return kind(**given, **{name: _default_value(hints[name]) for name in missing})


def _default_value(kind: Any) -> Any:
    if is_dataclass(kind):
        return build_event(kind)  # type: ignore[arg-type]
    if get_origin(kind) in {Union, types.UnionType}:
        return _default_value(get_args(kind)[0])
    if get_origin(kind) is list:
        return []
    return {UUID: new_id, datetime: utc_now, str: lambda: "some", int: lambda: 1, bool: lambda: False}[kind]()
