"""The clients: they send requests, repeat them, and read events and operations."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from io import SEEK_END
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import httpx

from . import events
from ._operations import AsyncOperations, Operations
from ._requests import Id, Request, path
from ._retries import Attempts, Retries
from .errors import ConnectionFailed, OperationFailed
from .models import File, FileFields, FileKind, NewFile, Operation

T = TypeVar("T")
Token = str | Callable[[], str]

_TIMEOUT_SECONDS = 15.0  # longer than the gateway's deadline of a command
_CHUNK_BYTES = 1024 * 1024
_RUNNING = {"pending", "running"}


class _Base:
    """What both clients have in common."""

    def __init__(self, token: Token | None, retries: Retries) -> None:
        self._token = token
        self._retries = retries

    def _arguments(self, request: Request[Any]) -> dict[str, Any]:
        arguments = request.arguments()
        if self._token is not None:
            token = self._token() if callable(self._token) else self._token
            arguments["headers"]["Authorization"] = f"Bearer {token}"
        return arguments

    def _attempts(self, request: Request[Any]) -> Attempts:
        return Attempts(self._retries, is_idempotent=request.is_idempotent)

    @staticmethod
    def _read(request: Request[T], outcome: httpx.Response | httpx.TransportError) -> T:
        if isinstance(outcome, httpx.TransportError):
            raise ConnectionFailed(f"{request.method} {request.path}: {outcome}") from outcome
        return request.read(outcome)

    @staticmethod
    def _feed_request(after: str, types: Sequence[str], limit: int) -> "Request[events.RawFeedPage]":
        query = {"after": after, "type": types, "limit": limit}
        return Request("GET", "/v1/events", events.RawFeedPage, query=query)

    @staticmethod
    def _document_request(address: str, language: str) -> Request[bytes]:
        headers = {"Accept": "application/pdf", "Accept-Language": language}
        return Request("GET", address, bytes, headers=headers)

    @staticmethod
    def _badge_request(code: Id) -> Request[bytes]:
        return Request("GET", path("/v1/certificates/{}/badge", code), bytes)

    @staticmethod
    def _file_fields(contents: BinaryIO, kind: FileKind, name: str, content_type: str) -> FileFields:
        size_bytes = contents.seek(0, SEEK_END)
        contents.seek(0)
        return FileFields(kind=kind, name=name, content_type=content_type, size_bytes=size_bytes)

    @staticmethod
    def _upload(started: NewFile, contents: BinaryIO) -> dict[str, Any]:
        # The link is signed; it needs no token. No time limit: a video takes as long as the network needs.
        headers = dict(started.upload.headers)
        return {"url": started.upload.url, "content": contents, "headers": headers, "timeout": None}

    @staticmethod
    def _result(operation: Operation) -> Any:
        if operation.error is not None:
            raise OperationFailed(operation.error.code, operation.error.detail)
        return operation.result


class Coursebus(_Base, Operations):
    """A client of the API at ``url``.

    ``token`` is an access token, or a function that returns the current one and is called for each request. Requests
    are repeated as ``retries`` says, with the same idempotency key. Safe to share between threads.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        retries: Retries = Retries(),  # noqa: B008 immutable
        timeout: float = _TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(token, retries)
        self._http = httpx.Client(base_url=url, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def wait(self, operation: Operation, *, timeout: float = 300, every: float = 0.5) -> Any:
        """Return the result of an operation when it has ended. Raises OperationFailed and TimeoutError."""
        deadline = time.monotonic() + timeout
        while operation.status in _RUNNING:
            if time.monotonic() > deadline:
                raise TimeoutError(f"operation {operation.id} is still {operation.status} after {timeout} s")
            time.sleep(every)
            operation = self.get_operation(operation.id)
        return self._result(operation)

    def download_certificate(self, code: Id, *, language: str = "en") -> bytes:
        """Return a certificate as PDF, in English or Russian. Raises Conflict if it is revoked."""
        return self._send(self._document_request(path("/v1/certificates/{}", code), language))

    def download_invoice(self, order_id: Id, *, language: str = "en") -> bytes:
        """Return the invoice of a paid order as PDF, in English or Russian. Raises Conflict if it is not paid."""
        return self._send(self._document_request(path("/v1/orders/{}/invoice", order_id), language))

    def download_badge(self, code: Id) -> str:
        """Return the Open Badge of a certificate, a signed JWT. Raises Conflict if it is revoked."""
        return self._send(self._badge_request(code)).decode()

    def upload_file(self, course_id: Id, contents: BinaryIO, *, kind: FileKind, name: str, content_type: str) -> File:
        """Upload a file of a course, and return it when its contents were checked.

        Raises Unprocessable if they are not of this type, ConnectionFailed if the store refuses or does not answer.
        """
        started = self.start_upload(course_id, self._file_fields(contents, kind, name, content_type))
        try:
            self._http.put(**self._upload(started, contents)).raise_for_status()
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"the upload of {name}: {error}") from error
        return self.complete_upload(course_id, started.id)

    def events(
        self, *, after: str = "0", types: Sequence[str] = (), every: float | None = None, limit: int = 100
    ) -> Iterator[events.Event | events.UnknownEvent]:
        """Yield the events of all services after a position; after ``latest``, those from now on.

        Store the ``position`` of an event when it is processed, and pass it as ``after`` to resume. The iterator ends
        at the newest event, or, with ``every``, waits as many seconds before it asks for more.
        """
        while True:
            page = self._send(self._feed_request(after, types, limit))
            yield from map(events.decode, page.items)
            after = page.next_after
            if page.has_more:
                continue
            if every is None:
                return
            time.sleep(every)

    def _send(self, request: Request[T]) -> T:
        attempts = self._attempts(request)
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.request(**self._arguments(request))
            except httpx.TransportError as error:
                outcome = error
            if (delay := attempts.delay_after(outcome)) is None:
                return self._read(request, outcome)
            time.sleep(delay)


async def _chunks(contents: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(contents.read, _CHUNK_BYTES):
        yield chunk


class AsyncCoursebus(_Base, AsyncOperations):
    """Like ``Coursebus``, for asyncio."""

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        retries: Retries = Retries(),  # noqa: B008 immutable
        timeout: float = _TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(token, retries)
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def wait(self, operation: Operation, *, timeout: float = 300, every: float = 0.5) -> Any:  # noqa: ASYNC109 as in Coursebus
        """Return the result of an operation when it has ended. Raises OperationFailed and TimeoutError."""
        deadline = time.monotonic() + timeout
        while operation.status in _RUNNING:
            if time.monotonic() > deadline:
                raise TimeoutError(f"operation {operation.id} is still {operation.status} after {timeout} s")
            await asyncio.sleep(every)
            operation = await self.get_operation(operation.id)
        return self._result(operation)

    async def download_certificate(self, code: Id, *, language: str = "en") -> bytes:
        """Return a certificate as PDF, in English or Russian. Raises Conflict if it is revoked."""
        return await self._send(self._document_request(path("/v1/certificates/{}", code), language))

    async def download_invoice(self, order_id: Id, *, language: str = "en") -> bytes:
        """Return the invoice of a paid order as PDF, in English or Russian. Raises Conflict if it is not paid."""
        return await self._send(self._document_request(path("/v1/orders/{}/invoice", order_id), language))

    async def download_badge(self, code: Id) -> str:
        """Return the Open Badge of a certificate, a signed JWT. Raises Conflict if it is revoked."""
        return (await self._send(self._badge_request(code))).decode()

    async def upload_file(
        self, course_id: Id, contents: BinaryIO, *, kind: FileKind, name: str, content_type: str
    ) -> File:
        """Upload a file of a course, as ``Coursebus.upload_file`` does."""
        started = await self.start_upload(course_id, self._file_fields(contents, kind, name, content_type))
        upload = self._upload(started, contents)
        try:
            (await self._http.put(**{**upload, "content": _chunks(contents)})).raise_for_status()
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"the upload of {name}: {error}") from error
        return await self.complete_upload(course_id, started.id)

    async def events(
        self, *, after: str = "0", types: Sequence[str] = (), every: float | None = None, limit: int = 100
    ) -> AsyncIterator[events.Event | events.UnknownEvent]:
        """Yield the events of all services after a position, as ``Coursebus.events`` does."""
        while True:
            page = await self._send(self._feed_request(after, types, limit))
            for event in page.items:
                yield events.decode(event)
            after = page.next_after
            if page.has_more:
                continue
            if every is None:
                return
            await asyncio.sleep(every)

    async def _send(self, request: Request[T]) -> T:
        attempts = self._attempts(request)
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.request(**self._arguments(request))
            except httpx.TransportError as error:
                outcome = error
            if (delay := attempts.delay_after(outcome)) is None:
                return self._read(request, outcome)
            await asyncio.sleep(delay)
