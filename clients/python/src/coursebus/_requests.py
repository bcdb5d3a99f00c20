"""A request of the API: how it is built, and how its response is read. Shared by both clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import msgspec

from ._decoding import decode
from .errors import api_error

T = TypeVar("T")

Id = str | UUID


class Versioned(Protocol):
    """An object that was read from the API and has a version, such as a course."""

    @property
    def version(self) -> int: ...


@dataclass(frozen=True)
class Request(Generic[T]):
    """``result`` is the type of the response, bytes for a document, None if it has no body."""

    method: str
    path: str
    result: type[T] | None
    query: Mapping[str, Any] = field(default_factory=dict)
    body: msgspec.Struct | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_idempotent(self) -> bool:
        """Return whether a repetition has no second effect, and the same response."""
        if self.method == "POST":
            return "Idempotency-Key" in self.headers
        return "If-Match" not in self.headers  # the repetition of an executed change does not match any more

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of httpx."""
        headers = dict(self.headers)
        content = None
        if self.body is not None:
            content = msgspec.json.encode(self.body)
            headers["Content-Type"] = "application/json"
        query = {name: _text(value) for name, value in self.query.items() if value is not None}
        return {
            "method": self.method,
            "url": self.path,
            "params": query,
            "content": content,
            "headers": headers,
        }

    def read(self, response: httpx.Response) -> T:
        """Return the body of ``response``. Raises the ApiError that it stands for."""
        if not response.is_success:
            raise api_error(response)
        if self.result is None or response.status_code == httpx.codes.NO_CONTENT:
            return cast("T", None)
        if self.result is bytes:
            return cast("T", response.content)
        return decode(response.content, self.result)


def path(template: str, *parts: Id | int) -> str:
    """Return ``template`` with its placeholders replaced by ``parts``."""
    return template.format(*(quote(str(part), safe="") for part in parts))


def key_header(given: str | None) -> dict[str, str]:
    """Return the header with the given key, by default a new one."""
    return {"Idempotency-Key": given or uuid4().hex}


def version_header(version: int | Versioned | None) -> dict[str, str]:
    """Return the header that makes a change conditional on ``version``; without one, no header."""
    if version is None:
        return {}
    return {"If-Match": f'"{version if isinstance(version, int) else version.version}"'}


def _text(value: Any) -> str | Sequence[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | UUID | int):
        return str(value)
    return [str(each) for each in value]
