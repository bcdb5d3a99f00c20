"""Decode and encode Kafka's messages by their schema: https://kafka.apache.org/protocol.

A schema is a primitive type, a list with the schema of its elements, or a dict of named fields in their order. Versions
of a message that are *flexible* have compact lengths, and tagged fields, which are ignored and never written.
"""

import struct
from enum import Enum
from typing import Any


class Type(Enum):
    """The primitive types of the protocol."""

    INT8 = struct.Struct(">b")
    INT16 = struct.Struct(">h")
    INT32 = struct.Struct(">i")
    INT64 = struct.Struct(">q")
    UUID = struct.Struct(">16s")
    STRING = "string"  # or None
    BYTES = "bytes"  # or None


Schema = Type | list["Schema"] | dict[str, "Schema"]


class Reader:
    """Decodes a message from its beginning to its end."""

    def __init__(self, message: bytes, *, flexible: bool = False) -> None:
        self._message = message
        self._at = 0
        self.flexible = flexible

    def read(self, schema: Schema) -> Any:
        """Return the next value; a struct is a dict, and a null array is empty."""
        if isinstance(schema, dict):
            found = {name: self.read(field) for name, field in schema.items()}
            self.skip_tags()
            return found
        if isinstance(schema, list):
            return [self.read(schema[0]) for _ in range(self._size(Type.INT32))]
        if schema is Type.STRING:
            text = self._bytes(Type.INT16)
            return None if text is None else text.decode()
        if schema is Type.BYTES:
            return self._bytes(Type.INT32)
        (value,) = schema.value.unpack_from(self._message, self._at)
        self._at += schema.value.size
        return value

    def skip_tags(self) -> None:
        """Skip the tagged fields at the end of a struct or header, if the version has them."""
        if self.flexible:
            for _ in range(self._unsigned_varint()):
                self._unsigned_varint()
                self._at += self._unsigned_varint()

    def _bytes(self, size_type: Type) -> bytes | None:
        size = self._size(size_type)
        if size < 0:
            return None
        self._at += size
        return self._message[self._at - size : self._at]

    def _size(self, size_type: Type) -> int:
        return self._unsigned_varint() - 1 if self.flexible else int(self.read(size_type))

    def _unsigned_varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._message[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:  # noqa: PLR2004 the highest bit says that another byte follows
                return value


class Writer:
    """Encodes a message."""

    def __init__(self, *, flexible: bool = False) -> None:
        self._parts: list[bytes] = []
        self.flexible = flexible

    def write(self, schema: Schema, value: Any) -> None:
        """Append ``value``; None is a null array, a null string or null bytes."""
        if isinstance(schema, dict):
            for name, field in schema.items():
                self.write(field, value[name])
            self.write_no_tags()
        elif isinstance(schema, list):
            self._write_size(Type.INT32, -1 if value is None else len(value))
            for each in value or ():
                self.write(schema[0], each)
        elif schema is Type.STRING:
            self._write_bytes(Type.INT16, None if value is None else value.encode())
        elif schema is Type.BYTES:
            self._write_bytes(Type.INT32, value)
        else:
            self._parts.append(schema.value.pack(value))

    def write_no_tags(self) -> None:
        """End a struct or header without tagged fields, if the version has them."""
        if self.flexible:
            self._parts.append(b"\x00")

    def message(self) -> bytes:
        """Return what was written, after its size."""
        message = b"".join(self._parts)
        return Type.INT32.value.pack(len(message)) + message

    def _write_bytes(self, size_type: Type, value: bytes | None) -> None:
        self._write_size(size_type, -1 if value is None else len(value))
        self._parts.append(value or b"")

    def _write_size(self, size_type: Type, size: int) -> None:
        self._parts.append(_unsigned_varint(size + 1) if self.flexible else size_type.value.pack(size))


def _unsigned_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 seven bits in each byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
