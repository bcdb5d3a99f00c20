"""Lists that are read page by page while they are iterated."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from ._requests import Request

Item = TypeVar("Item")


class Page(Protocol[Item]):
    """One page of a list. ``next_cursor`` is None on the last page."""

    @property
    def items(self) -> list[Item]: ...

    @property
    def next_cursor(self) -> str | None: ...


def _following(request: "Request[Page[Item]]", page: "Page[Item]") -> "Request[Page[Item]] | None":
    if page.next_cursor is None:
        return None
    return replace(request, query={**request.query, "cursor": page.next_cursor})


class Pages(Generic[Item]):
    """A list. Iterating it yields items and requests further pages when they are needed."""

    def __init__(self, send: "Callable[[Request[Page[Item]]], Page[Item]]", request: "Request[Page[Item]]") -> None:
        self._send = send
        self._request = request

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from page.items

    def page(self, cursor: str | None = None) -> "Page[Item]":
        """Return one page: the first, or the one that the ``next_cursor`` of another page names."""
        query = self._request.query if cursor is None else {**self._request.query, "cursor": cursor}
        return self._send(replace(self._request, query=query))

    def pages(self) -> "Iterator[Page[Item]]":
        """Yield the pages, which may have more than items, such as facets."""
        request: Request[Page[Item]] | None = self._request
        while request:
            page = self._send(request)
            yield page
            request = _following(request, page)


class AsyncPages(Generic[Item]):
    """Like ``Pages``, for ``async for``."""

    def __init__(
        self, send: "Callable[[Request[Page[Item]]], Awaitable[Page[Item]]]", request: "Request[Page[Item]]"
    ) -> None:
        self._send = send
        self._request = request

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def page(self, cursor: str | None = None) -> "Page[Item]":
        """Return one page, as ``Pages.page`` does."""
        query = self._request.query if cursor is None else {**self._request.query, "cursor": cursor}
        return await self._send(replace(self._request, query=query))

    async def pages(self) -> "AsyncIterator[Page[Item]]":
        """Yield the pages, which may have more than items, such as facets."""
        request: Request[Page[Item]] | None = self._request
        while request:
            page = await self._send(request)
            yield page
            request = _following(request, page)
