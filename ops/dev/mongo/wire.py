"""Read and write messages of MongoDB's wire protocol.

Reference: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
"""

import itertools
import socketserver
import struct
from io import BufferedIOBase
from typing import Any

import bson

from .commands import Commands
from .documents import Document

_HEADER = struct.Struct("<iiii")  # length, request id, response to, opcode
_OP_MSG, _OP_QUERY, _OP_REPLY = 2013, 2004, 1
_BODY, _DOCUMENTS = 0, 1  # kinds of sections
_FLAGS = struct.Struct("<I")
_LENGTH = struct.Struct("<i")
_MORE_TO_COME = 2  # the client expects no reply

_request_ids = itertools.count(1)


class Server(socketserver.ThreadingTCPServer):
    """A server of ``commands`` with one thread per connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], commands: Commands) -> None:
        """Listen on ``address``."""
        self.commands = commands
        super().__init__(address, _Connection)


class _Connection(socketserver.StreamRequestHandler):
    """The connection of one client."""

    disable_nagle_algorithm = True
    server: Server

    def handle(self) -> None:
        try:
            while message := _read(self.rfile):
                request_id, opcode, payload = message
                if reply := self._reply(request_id, opcode, payload):
                    self.wfile.write(reply)
        except ConnectionError:
            return  # the client was killed

    def _reply(self, request_id: int, opcode: int, payload: bytes) -> bytes | None:
        if opcode == _OP_QUERY:  # only the first message of a connection: hello
            return _old_reply(request_id, self.server.commands.run(_parse_query(payload)))
        if opcode != _OP_MSG:
            raise ConnectionError(f"unknown opcode {opcode}")
        [flags] = _FLAGS.unpack_from(payload)
        reply = self.server.commands.run(_parse_message(payload[_FLAGS.size :]))
        if flags & _MORE_TO_COME:
            return None
        return _message(request_id, _OP_MSG, _FLAGS.pack(0) + bytes([_BODY]) + bson.encode(reply))


def _read(stream: BufferedIOBase) -> tuple[int, int, bytes] | None:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    length, request_id, _, opcode = _HEADER.unpack(header)
    payload = stream.read(length - _HEADER.size)
    return (request_id, opcode, payload) if len(payload) == length - _HEADER.size else None


def _parse_message(sections: bytes) -> Document:
    """Return the command of an OP_MSG: its body and the documents of its other sections."""
    command: Document = {}
    position = 0
    while position < len(sections):
        kind = sections[position]
        [length] = _LENGTH.unpack_from(sections, position + 1)
        section = sections[position + 1 : position + 1 + length]
        position += 1 + length
        if kind == _BODY:
            command = {**bson.decode(section), **command}
        elif kind == _DOCUMENTS:
            name, _, documents = section[_LENGTH.size :].partition(b"\0")
            command[name.decode()] = bson.decode_all(documents)
    return command


def _parse_query(payload: bytes) -> Document:
    collection, _, rest = payload[_FLAGS.size :].partition(b"\0")
    document: dict[str, Any] = bson.decode_all(rest[2 * _LENGTH.size :])[0]
    return {**document, "$db": collection.decode().partition(".")[0]}


def _old_reply(response_to: int, document: Document) -> bytes:
    return _message(response_to, _OP_REPLY, struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(document))


def _message(response_to: int, opcode: int, payload: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(payload), next(_request_ids) & 0x7FFFFFFF, response_to, opcode) + payload
