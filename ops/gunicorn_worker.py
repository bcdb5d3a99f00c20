"""A gunicorn worker whose threads wait for connections themselves, and never for a client's next byte.

Each thread waits for a readable connection, reads it, answers the request if it is complete, and waits again: a request
is not handed from one thread to another. Bytes of an incomplete request are kept with the connection, so that no thread
waits for the rest. The main thread accepts connections, closes those that are idle or slow, and reports to gunicorn.
"""

import errno
import json
import os
import secrets
import select
import socket
import struct
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

from gunicorn.http.errors import NoMoreData
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import Response, create
from gunicorn.workers.base import Worker

from ops.incoming_request import IncomingRequest, ReadState

REQUEST_SECONDS = 10.0  # from the first byte to the last; a MiB over a slow mobile network takes about five
DRAIN_SECONDS = 2.0  # for reading what a client still sends: closing the socket earlier would lose the response
STOP_SECONDS = 2.0  # for the next request on an idle connection of a stopping worker
BUFFERED_BYTES_MAX = 64 * 1024 * 1024  # of all incomplete requests of a worker
_READ_BYTES = 64 * 1024
_SOCKET_TIMEOUT_SECONDS = 10  # of a thread that writes to a client that does not read
_CHECK_SECONDS = 0.5  # between two searches for expired connections
_TOO_LONG = "The request is too large."
_DISCONNECTED = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN}


class DirectRequest(Request):  # type: ignore[misc]
    """A request without trusted proxies: core/addresses.py evaluates what they report, so gunicorn must not."""

    def _peer_trusted_for_forwarded(self) -> tuple[dict[str, str], list[str]]:
        return {}, []


class DirectParser(RequestParser):  # type: ignore[misc]
    mesg_class = DirectRequest


class Connection:
    """A client's connection. The thread that has removed it from ``DeadlineWorker._waiting`` owns it."""

    def __init__(self, settings: SimpleNamespace, sock: socket.socket, client: Any, server: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.deadline = 0.0  # of the state in which it waits; monotonic
        self.incoming: IncomingRequest | None = None  # None: it waits for the first byte of a request
        self.buffered_bytes = 0  # of ``incoming``, as counted by the worker
        self.is_closing = False  # everything is sent, and what the client still sends is dropped
        # The parser gets complete requests only, so it reads no socket: beyond them it finds the end of the input.
        self.parser = DirectParser(settings, iter(()), client)


class WholeResponse(Response):  # type: ignore[misc]  # gunicorn ships no types
    """A response whose head is sent together with the first bytes of the body, in one system call."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._head = b""

    def default_headers(self) -> list[str]:
        connection = "close" if self.should_close() else "keep-alive"
        lines = [f"HTTP/1.{self.req.version[1]} {self.status}\r\n", f"Server: {self.version}\r\n"]
        lines += [f"Date: {_http_date(int(time.time()))}\r\n", f"Connection: {connection}\r\n"]
        return [*lines, "Transfer-Encoding: chunked\r\n"] if self.chunked else lines

    def send_headers(self) -> None:
        """Keep the head for the next write."""
        if not self.headers_sent:
            lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
            self._head = "".join(lines).encode("latin-1")
            self.headers_sent = True

    def close(self) -> None:
        """Send what is left."""
        self.send_headers()
        rest = self._head + (b"0\r\n\r\n" if self.chunked else b"")
        if rest:
            self.sock.sendall(rest)

    def _emit_body(self, data: bytes) -> None:
        framed = b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data
        self.sock.sendall(self._head + framed)
        self._head = b""


class DeadlineWorker(Worker):  # type: ignore[misc]
    """Serves requests by ``threads`` threads that share one epoll object.

    A connection is armed for one event. The thread that gets the event removes the connection from ``_waiting`` and
    thereby owns it, until it puts it back and arms it again. The main thread takes expired connections the same way.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._epoll: select.epoll
        self._stopped: int  # an eventfd that is readable when the threads must end
        self._connections: dict[int, Connection] = {}  # all that are open, by file descriptor
        self._waiting: dict[int, Connection] = {}  # those that no thread owns
        self._buffered_bytes = 0
        self._buffer_lock = threading.Lock()
        self._check_at = 0.0
        # gunicorn looks up each setting in two dictionaries and calls a getter; the parser reads fifteen per request.
        values = {name: setting.get() for name, setting in self.cfg.settings.items()}
        self._settings = SimpleNamespace(**values, is_ssl=self.cfg.is_ssl)

    def run(self) -> None:
        """Serve until the worker is asked to stop, then finish the requests that have begun."""
        # Not in __init__, which runs before the fork: the processes would share the epoll object.
        self._epoll, self._stopped = select.epoll(), os.eventfd(0)
        self._epoll.register(self._stopped, select.EPOLLIN)
        for listener in self.sockets:
            listener.settimeout(0)
        for number in range(self._settings.threads):
            threading.Thread(target=self._serve, name=f"request-{number}", daemon=True).start()
        while self.alive and self.ppid == os.getppid():
            self._wait_and_accept(self.sockets if len(self._connections) < self._settings.worker_connections else [])
        for listener in self.sockets:
            while self._accept(listener):
                pass  # closing the listener would reset connections that the kernel has accepted
            listener.close()
        self._finish_connections()
        os.eventfd_write(self._stopped, 1)

    def _finish_connections(self) -> None:
        """Wait until every connection is closed, graceful_timeout at most; idle ones have STOP_SECONDS."""
        self.alive = False  # also if the parent has ended: responses now say Connection: close
        now = time.monotonic()
        idle_until, until = now + STOP_SECONDS, now + self._settings.graceful_timeout
        while self._connections and time.monotonic() < until:
            for conn in list(self._waiting.values()):
                conn.deadline = min(conn.deadline, idle_until) if conn.incoming is None else conn.deadline
            self._check_at = 0.0
            self._wait_and_accept([], seconds=0.1)

    def _wait_and_accept(self, listeners: list[Any], seconds: float = 1.0) -> None:
        self.notify()
        readable, _, _ = select.select([self.PIPE[0], *listeners], [], [], seconds)
        for each in readable:
            if each == self.PIPE[0]:
                with suppress(BlockingIOError):
                    os.read(self.PIPE[0], 1024)  # a signal has been handled
            else:
                self._accept(each)
        if time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + _CHECK_SECONDS
            self._close_expired()

    def _accept(self, listener: Any) -> bool:
        """Accept a connection; return False if there is none."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        client.settimeout(None)
        # Without a timeout a thread would wait forever for a dead proxy or a client that does not read.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SOCKET_TIMEOUT_SECONDS, 0))
        conn = Connection(self._settings, client, address, listener.getsockname())
        conn.deadline = time.monotonic() + self._settings.keepalive
        self._connections[client.fileno()] = self._waiting[client.fileno()] = conn
        self._epoll.register(client.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
        return True

    def _close_expired(self) -> None:
        """Close idle connections, and reject requests that are incomplete, after their deadline."""
        now = time.monotonic()
        for fd, each in list(self._waiting.items()):
            if each.deadline > now or self._waiting.pop(fd, None) is not each:
                continue
            if each.incoming is None:
                self._close(each)
            elif _has_input(each.sock):
                self._wait(each)  # all threads are busy: the client is not late
            else:
                detail = f"The request was not received completely within {REQUEST_SECONDS:.0f} seconds."
                self._reject(each, HTTPStatus.REQUEST_TIMEOUT, "request_timeout", detail)

    # The threads.

    def _serve(self) -> None:
        while True:
            [(fd, _)] = self._epoll.poll(maxevents=1)
            if fd == self._stopped:
                return
            conn = self._waiting.pop(fd, None)
            if conn is None:
                continue  # the main thread has taken it
            try:
                self._read(conn)
            except Exception:
                self.log.exception("A connection is closed after an error.")
                self._close(conn)

    def _read(self, conn: Connection) -> None:
        try:
            data = conn.sock.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._wait(conn)
            return
        except OSError:
            data = b""
        if not data or (conn.is_closing and time.monotonic() > conn.deadline):
            self._close(conn)
        elif conn.is_closing:
            self._wait(conn)
        else:
            self._receive(conn, data)

    def _receive(self, conn: Connection, data: bytes) -> None:
        """Add bytes to the request; answer it if it is complete, and those that the client has sent after it."""
        while data:
            if conn.incoming is None:
                conn.incoming = IncomingRequest()
                conn.deadline = time.monotonic() + REQUEST_SECONDS
            state = conn.incoming.add(data)
            if state is not ReadState.COMPLETE:
                self._await_rest(conn, state)
                return
            conn.parser.unreader.unread(bytes(conn.incoming.data))
            self._forget_request(conn)
            if not self._answer(conn):
                self._shut_down(conn)
                return
            data = conn.parser.unreader.take_buffered()
        conn.deadline = time.monotonic() + self._settings.keepalive
        self._wait(conn)

    def _await_rest(self, conn: Connection, state: ReadState) -> None:
        """Wait for the rest of a request, unless it exceeds a limit."""
        assert conn.incoming is not None
        with self._buffer_lock:
            self._buffered_bytes += len(conn.incoming.data) - conn.buffered_bytes
            conn.buffered_bytes = len(conn.incoming.data)
        if state is ReadState.HEAD_TOO_LONG:
            self._reject(conn, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", _TOO_LONG)
        elif state is ReadState.BODY_TOO_LONG:
            self._reject(conn, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", _TOO_LONG)
        elif self._buffered_bytes > BUFFERED_BYTES_MAX:
            self._reject(conn, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Too many requests are being received.")
        else:
            if conn.incoming.expects_continue:
                conn.incoming.expects_continue = False
                self._send(conn, b"HTTP/1.1 100 Continue\r\n\r\n")
            self._wait(conn)

    def _answer(self, conn: Connection) -> bool:
        """Run the application. Return whether the connection takes another request."""
        request = response = None
        try:
            request = next(conn.parser)
            response, environ = create(request, conn.sock, conn.client, conn.server, self._settings, WholeResponse)
            environ["wsgi.multithread"] = True
            if not self.alive or len(self._connections) >= self._settings.worker_connections:
                response.force_close()
            chunks = self.wsgi(environ, response.start_response)
            try:
                for chunk in chunks:
                    response.write(chunk)
                response.close()
            finally:
                if hasattr(chunks, "close"):
                    chunks.close()
            return not response.should_close() and bool(conn.parser.finish_body())
        except (NoMoreData, StopIteration) as error:
            self.log.debug("Closing a connection: %s", error)
        except OSError as error:
            if error.errno not in _DISCONNECTED:
                self.log.exception("Socket error processing request.")
        except Exception as error:
            if response is not None and response.headers_sent:
                self.log.exception("Error after the head of the response.")
            else:
                self.handle_error(request, conn.sock, conn.client, error)
        return False

    # Transitions, by the thread that owns the connection.

    def _wait(self, conn: Connection) -> None:
        """Give up the connection: the next event on it wakes one of the threads."""
        fd = conn.sock.fileno()
        self._waiting[fd] = conn
        self._epoll.modify(fd, select.EPOLLIN | select.EPOLLONESHOT)

    def _reject(self, conn: Connection, status: HTTPStatus, code: str, detail: str) -> None:
        self._send(conn, problem_response(status, code, detail))
        self._forget_request(conn)
        self._shut_down(conn)

    def _shut_down(self, conn: Connection) -> None:
        """Send the end of the stream, and read for a moment what the client still sends."""
        conn.is_closing = True
        conn.deadline = time.monotonic() + DRAIN_SECONDS
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        self._wait(conn)

    def _close(self, conn: Connection) -> None:
        self._forget_request(conn)
        self._connections.pop(conn.sock.fileno(), None)
        conn.sock.close()

    def _forget_request(self, conn: Connection) -> None:
        conn.incoming = None
        if conn.buffered_bytes:
            with self._buffer_lock:
                self._buffered_bytes -= conn.buffered_bytes
            conn.buffered_bytes = 0

    def _send(self, conn: Connection, data: bytes) -> None:
        try:
            # Fits into an empty buffer; a client whose buffer is full does not read.
            conn.sock.send(data, socket.MSG_DONTWAIT)
        except OSError:
            self.log.debug("Ignoring a client that disconnected.")


@lru_cache(maxsize=1)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _has_input(sock: socket.socket) -> bool:
    """Return whether bytes of the client wait in the kernel."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


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
