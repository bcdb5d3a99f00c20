"""Celery's Redis transport: kombu's transport, changed to cost less per message and to survive a restart of Redis."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from time import time
from typing import Any

import kombu.transport.redis as kombu_redis
import msgspec
import redis
from kombu.serialization import register
from kombu.transport import virtual
from kombu.utils.json import dumps, loads
from redis import Redis

import settings
from core.redis import Command, connection_classes
from core.redis_commands import LeanConnection


class _EncodedMessage(dict[str, Any]):
    """A decoded message with its encoded form, which the unacked hash stores."""

    encoded: bytes


class QoS(kombu_redis.QoS):
    """Marks messages as taken and acknowledged by one write each. kombu's transactions take four times as long.

    A write that is cut off is harmless: ``restore_by_tag`` ignores an index entry without a message.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        encoded = getattr(message._raw, "encoded", None)  # noqa: SLF001 has no public name
        if encoded is None:  # it did not come by BRPOP
            super().append(message, delivery_tag)
            return
        exchange, routing_key = message.delivery_info["exchange"], message.delivery_info["routing_key"]
        unacked = b"[%b,%b]" % (encoded, msgspec.json.encode([exchange, routing_key])[1:-1])
        self.channel.send(
            ("ZADD", self.unacked_index_key, time(), delivery_tag), ("HSET", self.unacked_key, delivery_tag, unacked)
        )
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        self.channel.send(("HDEL", self.unacked_key, delivery_tag), ("ZREM", self.unacked_index_key, delivery_tag))
        virtual.QoS.ack(self, delivery_tag)


class Channel(kombu_redis.Channel):
    """Reuses one Redis client. kombu creates one per message acknowledged, published or requeued: 60 µs each."""

    QoS = QoS
    connection_class, connection_class_ssl = connection_classes(settings.REDIS_URL)

    _in_poll: Any  # the connection that waits for a reply to BRPOP
    _reused_client: Redis | None = None
    _reused_connection: LeanConnection | None = None

    @contextmanager
    def conn_or_acquire(self, client: Redis | None = None) -> Iterator[Redis]:
        if client is not None:
            yield client
            return
        # Celery closes a lost connection twice. The second time, a channel with unacknowledged messages would fail with
        # an AttributeError, which ends the worker; Celery ignores a ConnectionError and reconnects.
        if self.connection.client is None:
            raise redis.ConnectionError("the connection is closed")
        # kombu replaces the pool after a lost connection.
        if self._reused_client is None or self._reused_client.connection_pool is not self.pool:
            self._reused_client = self._create_client()
            if self._reused_connection:
                self._reused_connection.close()
            self._reused_connection = None
        yield self._reused_client

    def send(self, *commands: Command) -> None:
        """Send commands by one write on a connection that the channel keeps. Call it from the event loop only.

        The next call reads the replies and raises the first error among them. What was sent is executed also if this
        process is killed.
        """
        with self.conn_or_acquire() as client:
            if self._reused_connection is None:
                self._reused_connection = LeanConnection(client.connection_pool)
            try:
                self._reused_connection.send(commands)
            except BaseException:
                self._reused_connection = None
                raise

    def _brpop_read(self, **_: Any) -> bool:
        """Do what kombu's method does, but decode the message by msgspec and keep its encoded form."""
        connection = self.client.connection
        try:
            try:
                popped = connection.read_response(disable_decoding=True)
            except self.connection_errors:
                connection.disconnect()  # the next iteration connects again
                raise
            if not popped:
                raise Empty
            key, encoded = popped
            queue = key.decode().rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self.connection._deliver(_decode(encoded), queue)  # noqa: SLF001 as kombu does
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()


class _Loop:
    """The worker's event loop for kombu, which adds the same sockets at every turn: two system calls each."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        # kombu itself registers a new socket with the poller, and removes the reader of a closed one.
        if self._loop.readers.get(fd) != (callback, args):
            self._loop.add_reader(fd, callback, *args)


class Transport(kombu_redis.Transport):
    Channel = Channel

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, _Loop(loop))


def _decode(encoded: bytes) -> Any:
    decoded = _loads(encoded)
    if not isinstance(decoded, dict):
        return decoded
    message = _EncodedMessage(decoded)
    message.encoded = encoded
    return message


def _loads(encoded: str | bytes) -> Any:
    """Decode JSON in a tenth of the time of kombu, which is left to restore its own types and to report errors."""
    if b"__type__" not in (encoded.encode() if isinstance(encoded, str) else encoded):
        with suppress(msgspec.DecodeError, UnicodeError):
            return msgspec.json.decode(encoded)
    return loads(encoded)


# Decodes the bodies of messages, too.
register("json", dumps, _loads, content_type="application/json", content_encoding="utf-8")
