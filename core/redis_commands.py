"""Commands to Redis at a third of the CPU time of redis-py's client.

That client takes a connection from a pool under a lock, records metrics and prepares retries. A cached response needs
one command, and a task and its reply need two, whose cost was most of the response's.
"""

import os
import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast
from weakref import WeakKeyDictionary

import hiredis
from redis import ConnectionPool, Redis
from redis.commands.core import Script
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.redis import Command

_READ_BYTES = 64 * 1024
_INCOMPLETE = object()
_NO_SCRIPT = "NOSCRIPT"


def read(client: Redis, *command: Any) -> Any:
    """Execute a command on the server of ``client``, and return its reply with texts as bytes.

    The command may be executed twice if the server closes the connection.

    Raises RedisError.
    """
    idle = _idle_connections(client.connection_pool)
    try:
        connection = idle.pop()
    except IndexError:
        return _exchange(LeanConnection(client.connection_pool), [command], idle)[0]
    try:
        return _exchange(connection, [command], idle)[0]
    except RedisConnectionError:  # the server, or a firewall, has closed it while it was idle
        return _exchange(LeanConnection(client.connection_pool), [command], idle)[0]


def execute_once(client: Redis, *command: Any) -> Any:
    """Execute a command at most once, and return its reply with texts as bytes.

    Raises RedisError; whether the command was executed is then unknown.
    """
    return execute_all_once(client, [command])[0]


def execute_all_once(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """Execute each command at most once, all by one write, and return their replies with texts as bytes.

    Raises RedisError; whether the commands were executed is then unknown.
    """
    idle = _idle_connections(client.connection_pool)
    while idle:
        with suppress(IndexError):  # another thread may take the last one
            if (connection := idle.pop()).is_usable():
                return _exchange(connection, commands, idle)
    return _exchange(LeanConnection(client.connection_pool), commands, idle)


def run_script(script: Script, keys: list[str], args: list[Any], *, once: bool = False) -> Any:
    """Run a registered script like ``script(keys, args)``, ``once`` at most or perhaps twice. Raises RedisError."""
    execute = execute_once if once else read
    try:
        return execute(cast("Redis", script.registered_client), "EVALSHA", script.sha, len(keys), *keys, *args)
    except ResponseError as error:
        if not str(error).startswith(_NO_SCRIPT):
            raise
        return script(keys=keys, args=args)  # loads the script into a server that does not know it


class LeanConnection:
    """A connection that redis-py has opened, with TLS, login and database as in the URL."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._connection = cast("AbstractConnection", pool.make_connection())
        self._connection.connect()
        self._socket = cast("socket.socket", self._connection._sock)  # noqa: SLF001 redis-py's own reads take twice as long
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._unread = 0  # number of replies to the commands of ``send``

    def is_usable(self) -> bool:
        """Return False, and close the connection, if the server has closed it."""
        if not self._poll.poll(0):  # nothing is expected: readable means closed
            return True
        self._connection.disconnect()
        return False

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies. Raises RedisError; the connection is then closed."""
        with self._closed_by_errors():
            self._send(commands)
            return self._read(len(commands))

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands by one write, after the replies to those of the last call were read.

        Those have arrived by now, whereas waiting for a reply costs two switches between processes, more than the
        command. Raises RedisError, also for the first error among those replies; the connection is then closed.
        """
        with self._closed_by_errors():
            unread, self._unread = self._unread, len(commands)
            replies = self._read(unread)
            self._send(commands)
            _raise_refusal(replies)

    def close(self) -> None:
        self._connection.disconnect()

    def _send(self, commands: Sequence[Command]) -> None:
        self._socket.sendall(b"".join(hiredis.pack_command(cast("Any", command)) for command in commands))

    def _read(self, number: int) -> list[Any]:
        replies = list[Any]()
        while len(replies) < number:
            while (reply := self._reader.gets()) is _INCOMPLETE:
                self._reader.feed(self._receive())
            replies.append(reply)
        return replies

    @contextmanager
    def _closed_by_errors(self) -> Iterator[None]:
        """Close the connection after an error: the next command must not take a late reply for its own."""
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise RedisTimeoutError("Timeout reading from socket") from error
            if isinstance(error, OSError):
                raise RedisConnectionError(str(error)) from error
            raise

    def _receive(self) -> bytes:
        received = self._socket.recv(_READ_BYTES)
        if not received:
            raise RedisConnectionError("Connection closed by server.")
        return received


def _exchange(connection: LeanConnection, commands: Sequence[Command], idle: list[LeanConnection]) -> list[Any]:
    replies = connection.exchange(commands)
    idle.append(connection)
    _raise_refusal(replies)
    return replies


def _raise_refusal(replies: list[Any]) -> None:
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise ResponseError(str(reply))


# The last one used is taken first, so that a burst leaves no connections that must be kept alive. ``pop`` and
# ``append`` of a list are atomic.
_idle: WeakKeyDictionary[ConnectionPool, list[LeanConnection]] = WeakKeyDictionary()
os.register_at_fork(after_in_child=_idle.clear)  # processes must not share a connection


def _idle_connections(pool: ConnectionPool) -> list[LeanConnection]:
    found = _idle.get(pool)
    return _idle.setdefault(pool, []) if found is None else found
