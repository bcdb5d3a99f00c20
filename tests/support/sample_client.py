"""A client of the API that answers each request with made-up data: pages are rendered without a gateway."""

import types
import typing
from typing import Any
from uuid import UUID

import msgspec
from coursebus import Coursebus
from coursebus._requests import Request

SAMPLE_ID = str(UUID(int=7))
_VALUES = {
    "currency": "RUB",
    "language": "ru",
    "locale": "ru",
    "timezone": "Europe/Moscow",
    "email": "маша@почта.рф",
    "month": "2026-11",
    "day": "2026-11-30",
    "slot": "2026-11-30T03:00",
    "url": "https://пример.рф/",
    "slug": "узлы",
    "code": "Ж-7",
    "category": "data",
}
_NEVER_EMPTY = {"days", "events", "sections", "lessons"}  # lists that always have items
_TIMES = {"since", "until", "at", "respond_by", "period_start", "period_end", "day_start"}


class SampleClient(Coursebus):
    """Answers with objects of the expected type. Texts are Russian, so that English ones in a page stand out.

    With ``is_empty`` every list is empty, every flag false, and what may be missing is missing.
    """

    def __init__(self, *, is_empty: bool = False) -> None:
        self._is_empty = is_empty

    def _send(self, request: Request[Any]) -> Any:
        answer = self._sample(request.result, "")
        if "cursor" in request.query:
            answer.next_cursor = None  # a list has two pages
        return answer

    def _sample(self, type_: Any, name: str) -> Any:
        origin, arguments = typing.get_origin(type_), typing.get_args(type_)
        if origin in {typing.Union, types.UnionType}:
            return None if self._is_empty and type(None) in arguments else self._sample(arguments[0], name)
        if origin is typing.Literal:
            return arguments[-1 if self._is_empty else 0]
        if origin is list:
            return [] if self._is_empty and name not in _NEVER_EMPTY else [self._sample(arguments[0], name)]
        if origin is dict:
            return {} if self._is_empty else {"ключ": self._sample(arguments[1], name)}
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            hints = typing.get_type_hints(type_)
            fields = [each.name for each in msgspec.structs.fields(type_)]
            return type_(**{field: self._sample(hints[field], field) for field in fields})
        return self._scalar(type_, name)

    def _scalar(self, type_: Any, name: str) -> Any:
        if type_ is bytes:
            return b"x"
        if type_ in {bool, int, float}:
            return type_(0 if self._is_empty else 3.5)
        if name in _TIMES or name.endswith("_at"):
            return "2026-11-30T12:00:00Z"
        if name == "id" or name.endswith("_id"):
            return SAMPLE_ID
        return _VALUES.get(name, "Образец")
