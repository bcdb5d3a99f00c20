"""Extend gunicorn's threaded worker with a deadline for reading whole requests.

gunicorn reads a request in one of its threads and waits there for the client, so a few dozen slow connections block
the API. This worker collects the header and body of a request in its event loop and passes complete requests to a
thread. Requests that are incomplete after REQUEST_SECONDS are rejected. A thread never waits for a client's next byte.
"""

import json
import re
import secrets
import selectors
import socket
import struct
import time
from collections import deque
from enum import Enum, auto
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

REQUEST_SECONDS = 10.0  # from the first byte to the last; a MiB over a slow mobile network takes about five
DRAIN_SECONDS = 2.0  # for reading the rest of a rejected request: closing the socket earlier would lose the response
BODY_BYTES_MAX = 1024 * 1024  # as in api/request_parsing.py
HEAD_BYTES_MAX = 64 * 1024  # above gunicorn's limits
BUFFERED_BYTES_MAX = 64 * 1024 * 1024  # of all incomplete requests of a worker
_READ_BYTES = 64 * 1024
_SOCKET_TIMEOUT_SECONDS = 10  # of a thread that writes to a client that does not read

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding[ \t]*:[^\r\n]*chunked", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect[ \t]*:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_DIGITS = re.compile(rb"[0-9]{1,19}")
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")
_TOO_LONG = "The request is too large."


class ReadState(Enum):
    PARTIAL = auto()
    COMPLETE = auto()  # or malformed, which gunicorn's parser rejects
    HEAD_TOO_LONG = auto()
    BODY_TOO_LONG = auto()


class IncomingRequest:
    """The bytes of one request as they arrive."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.expects_continue = False
        self._body_at = 0  # 0: the head is incomplete
        self._length: int | None = None  # of the body; None: it is chunked
        self._chunk_at = 0  # start of the next line with a chunk size

    @property
    def buffered_bytes(self) -> int:
        """Return the number of bytes kept in memory."""
        return len(self.data)

    def add(self, data: bytes) -> ReadState:
        """Add bytes and return the state of the request."""
        searched = max(len(self.data) - len(_HEAD_END), 0)
        self.data += data
        if not self._body_at:
            if not searched:
                del self.data[: len(self.data) - len(self.data.lstrip(b"\r\n"))]  # RFC 9112, section 2.2
            end = self.data.find(_HEAD_END, searched)
            if end < 0:
                return ReadState.HEAD_TOO_LONG if len(self.data) > HEAD_BYTES_MAX else ReadState.PARTIAL
            if not self._read_head(end):
                return ReadState.COMPLETE
        if self._length is None:
            return self._read_chunks()
        if self._length > BODY_BYTES_MAX:
            return ReadState.BODY_TOO_LONG
        return ReadState.COMPLETE if len(self.data) >= self._body_at + self._length else ReadState.PARTIAL

    def _read_head(self, end: int) -> bool:
        """Determine how the body ends. Return False for a head that gunicorn rejects."""
        head = bytes(self.data[: end + 2])
        lengths = _LENGTH.findall(head)
        is_chunked = bool(_CHUNKED.search(head))
        if len(lengths) + is_chunked > 1 or not all(_DIGITS.fullmatch(each) for each in lengths):
            return False
        self.expects_continue = bool(_EXPECTS.search(head))
        if self.expects_continue:  # 100 Continue is sent here, and must not be sent by gunicorn again
            head = _EXPECTS.sub(b"", head)
            self.data[: end + 2] = head
        self._body_at = self._chunk_at = len(head) + 2
        self._length = None if is_chunked else int(lengths[0]) if lengths else 0
        return True

    def _read_chunks(self) -> ReadState:
        while True:
            line_end = self.data.find(b"\r\n", self._chunk_at)
            if line_end < 0:
                break
            size = _CHUNK_SIZE.match(self.data, self._chunk_at, line_end)
            if size is None:
                return ReadState.COMPLETE
            length = int(size[0], 16)
            if not length:
                return ReadState.COMPLETE if self.data.find(_HEAD_END, line_end) >= 0 else self._check_body_size()
            if line_end + 2 + length + 2 > len(self.data):
                break
            self._chunk_at = line_end + 2 + length + 2
        return self._check_body_size()

    def _check_body_size(self) -> ReadState:
        # The framing of chunks counts too: a body in chunks of one byte is six times as long on the wire.
        is_long = len(self.data) - self._body_at > BODY_BYTES_MAX + HEAD_BYTES_MAX
        return ReadState.BODY_TOO_LONG if is_long else ReadState.PARTIAL


class DeadlineWorker(ThreadWorker):  # type: ignore[misc]  # it ships no types
    """A ThreadWorker whose threads receive complete requests only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffered_bytes = 0
        self._draining: deque[TConn] = deque()  # rejected connections whose remaining bytes are read and dropped

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection and read the bytes that arrived with it."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        # Without a timeout a thread would wait forever for a dead proxy or a client that does not read.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SOCKET_TIMEOUT_SECONDS, 0))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _SOCKET_TIMEOUT_SECONDS, 0))
        self.nr_conns += 1
        self._start_request(TConn(self.cfg, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Start the next request of a keep-alive connection."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._start_request(conn)

    def finish_request(self, conn: TConn, fs: Any) -> None:
        """Keep the connection alive or close it; start the next request if the client has already sent it."""
        is_kept = not fs.cancelled() and not fs.exception() and fs.result()
        ahead = conn.parser.unreader.take_buffered() if is_kept else b""
        if not ahead:
            super().finish_request(conn, fs)
            return
        conn.sock.settimeout(0)
        self._start_request(conn, ahead)

    def murder_pending(self) -> None:
        """Reject requests that are incomplete after REQUEST_SECONDS."""
        now = time.monotonic()
        while self.pending_conns and self.pending_conns[0].timeout <= now:
            detail = f"The request was not received completely within {REQUEST_SECONDS:.0f} seconds."
            self._reject(self.pending_conns[0], HTTPStatus.REQUEST_TIMEOUT, "request_timeout", detail)
        while self._draining and self._draining[0].timeout <= now:
            self._close(self._draining[0], self._draining)

    def _start_request(self, conn: TConn, ahead: bytes = b"") -> None:
        """Read a request, or wait for its first byte as long as for the next one of a keep-alive connection."""
        try:
            data = ahead or conn.sock.recv(_READ_BYTES)
        except BlockingIOError:
            conn.set_timeout()
            self.keepalived_conns.append(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_client_socket_readable, conn))
            return
        except OSError:
            data = b""
        conn.incoming = IncomingRequest()
        conn.timeout = time.monotonic() + REQUEST_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._read, conn))
        self._receive(conn, data)

    def _read(self, conn: TConn, client: socket.socket) -> None:
        try:
            self._receive(conn, client.recv(_READ_BYTES))
        except BlockingIOError:
            return
        except OSError:
            self._receive(conn, b"")

    def _receive(self, conn: TConn, data: bytes) -> None:
        if not data:  # the client has disconnected
            self._buffered_bytes -= conn.incoming.buffered_bytes
            self._close(conn, self.pending_conns)
            return
        self._buffered_bytes -= conn.incoming.buffered_bytes
        state = conn.incoming.add(data)
        self._buffered_bytes += conn.incoming.buffered_bytes
        if state is ReadState.COMPLETE:
            self._dispatch(conn)
        elif state is ReadState.HEAD_TOO_LONG:
            self._reject(conn, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", _TOO_LONG)
        elif state is ReadState.BODY_TOO_LONG:
            self._reject(conn, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", _TOO_LONG)
        elif self._buffered_bytes > BUFFERED_BYTES_MAX:
            self._reject(conn, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Too many requests are being received.")
        elif conn.incoming.expects_continue:
            conn.incoming.expects_continue = False
            self._send(conn, b"HTTP/1.1 100 Continue\r\n\r\n")

    def _dispatch(self, conn: TConn) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)
        self._buffered_bytes -= conn.incoming.buffered_bytes
        conn.init()
        conn.parser.unreader.unread(bytes(conn.incoming.data))
        conn.incoming = None
        self.enqueue_req(conn)

    def _reject(self, conn: TConn, status: HTTPStatus, code: str, detail: str) -> None:
        """Respond with a problem and read for a moment what the client still sends."""
        self._send(conn, problem_response(status, code, detail))
        self.pending_conns.remove(conn)
        self._buffered_bytes -= conn.incoming.buffered_bytes
        conn.incoming = None
        conn.timeout = time.monotonic() + DRAIN_SECONDS
        self._draining.append(conn)
        self.poller.modify(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))

    def _drain(self, conn: TConn, client: socket.socket) -> None:
        try:
            if client.recv(_READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            self.log.debug("Ignoring a client that disconnected.")
        self._close(conn, self._draining)

    def _close(self, conn: TConn, connections: deque[TConn]) -> None:
        self.poller.unregister(conn.sock)
        connections.remove(conn)
        self.nr_conns -= 1
        conn.close()

    def _send(self, conn: TConn, data: bytes) -> None:
        try:
            conn.sock.send(data)  # fits into an empty buffer; a client whose buffer is full does not read
        except OSError:
            self.log.debug("Ignoring a client that disconnected.")


def problem_response(status: HTTPStatus, code: str, detail: str) -> bytes:
    """Return a complete response for a request that does not reach the application; the connection closes after it."""
    request_id = secrets.token_hex(16)
    problem = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    body = json.dumps(problem)
    head = (
        f"HTTP/1.1 {status:d} {status.phrase}",
        "Connection: close",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {request_id}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
    )
    return "\r\n".join((*head, "", body)).encode()
