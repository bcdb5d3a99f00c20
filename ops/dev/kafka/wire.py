"""Decode and encode Kafka's messages by their schema: https://kafka.apache.org/protocol.

A schema is a primitive type, a list with the schema of its elements, or a dict of named fields in their order. Versions
of a message that are *flexible* have compact lengths, and tagged fields, which are ignored and never written.

A schema is compiled once to functions that decode or encode consecutive numbers in one call: a broker in Python would
otherwise spend most of its time on the fields of requests that bring no records.
"""

import struct
from collections.abc import Callable
from enum import Enum
from itertools import groupby
from operator import itemgetter
from typing import Any


class Type(Enum):
    """The primitive types of the protocol; those of a fixed size are formats of ``struct``."""

    INT8 = "b"
    INT16 = "h"
    INT32 = "i"
    INT64 = "q"
    UUID = "16s"
    STRING = "string"  # or None
    BYTES = "bytes"  # or None


Schema = Type | list["Schema"] | dict[str, "Schema"]
Decode = Callable[[bytes, int], tuple[Any, int]]  # message and position → value and position behind it
Encode = Callable[[list[bytes], Any], None]  # appends the encoded value to the parts of a message

_LENGTH = struct.Struct(">i")
_TEXT_LENGTH = struct.Struct(">h")
_OF_ANY_SIZE = {Type.STRING, Type.BYTES}


def _is_fixed(schema: Schema) -> bool:
    return isinstance(schema, Type) and schema not in _OF_ANY_SIZE


def decoder(schema: Schema, *, flexible: bool) -> Decode:
    """Return the function that decodes ``schema``; a struct is a dict, and a null array is empty."""
    if isinstance(schema, dict):
        return _struct_decoder(schema, flexible=flexible)
    if isinstance(schema, list):
        return _array_decoder(decoder(schema[0], flexible=flexible), flexible=flexible)
    if _is_fixed(schema):
        number = struct.Struct(f">{schema.value}")
        return lambda message, at: (number.unpack_from(message, at)[0], at + number.size)
    return _bytes_decoder(schema, flexible=flexible)


def _struct_decoder(schema: dict[str, Schema], *, flexible: bool) -> Decode:
    steps: list[tuple[list[str], struct.Struct | None, Decode | None]] = []
    for names, numbers in _runs(schema):
        steps.append((names, numbers, None if numbers else decoder(schema[names[0]], flexible=flexible)))

    def decode(message: bytes, at: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        for names, numbers, decode_field in steps:
            if numbers:
                found.update(zip(names, numbers.unpack_from(message, at), strict=True))
                at += numbers.size
            elif decode_field:
                found[names[0]], at = decode_field(message, at)
        return found, skip_tags(message, at) if flexible else at

    return decode


def _array_decoder(decode_element: Decode, *, flexible: bool) -> Decode:
    def decode(message: bytes, at: int) -> tuple[list[Any], int]:
        size, at = _size(message, at, _LENGTH, flexible=flexible)
        found = []
        for _ in range(size):
            element, at = decode_element(message, at)
            found.append(element)
        return found, at

    return decode


def _bytes_decoder(schema: Schema, *, flexible: bool) -> Decode:
    is_text = schema is Type.STRING
    length = _TEXT_LENGTH if is_text else _LENGTH

    def decode(message: bytes, at: int) -> tuple[str | bytes | None, int]:
        size, at = _size(message, at, length, flexible=flexible)
        if size < 0:
            return None, at
        value = message[at : at + size]
        return value.decode() if is_text else value, at + size

    return decode


def encoder(schema: Schema, *, flexible: bool) -> Encode:
    """Return the function that encodes ``schema``; None is a null array, a null string or null bytes."""
    if isinstance(schema, dict):
        return _struct_encoder(schema, flexible=flexible)
    if isinstance(schema, list):
        return _array_encoder(encoder(schema[0], flexible=flexible), flexible=flexible)
    if _is_fixed(schema):
        number = struct.Struct(f">{schema.value}")
        return lambda parts, value: parts.append(number.pack(value))
    return _bytes_encoder(schema, flexible=flexible)


def _struct_encoder(schema: dict[str, Schema], *, flexible: bool) -> Encode:
    steps: list[tuple[Callable[[Any], Any], struct.Struct | None, Encode | None]] = []
    for names, numbers in _runs(schema):
        # With one name, itemgetter returns the value itself.
        get = itemgetter(*names) if len(names) > 1 or not numbers else _tuple_getter(names[0])
        steps.append((get, numbers, None if numbers else encoder(schema[names[0]], flexible=flexible)))

    def encode(parts: list[bytes], value: dict[str, Any]) -> None:
        for get, numbers, encode_field in steps:
            if numbers:
                parts.append(numbers.pack(*get(value)))
            elif encode_field:
                encode_field(parts, get(value))
        if flexible:
            parts.append(NO_TAGS)

    return encode


def _tuple_getter(name: str) -> Callable[[Any], Any]:
    return lambda value: (value[name],)


def _array_encoder(encode_element: Encode, *, flexible: bool) -> Encode:
    def encode(parts: list[bytes], value: list[Any] | None) -> None:
        parts.append(_encoded_size(-1 if value is None else len(value), _LENGTH, flexible=flexible))
        for element in value or ():
            encode_element(parts, element)

    return encode


def _bytes_encoder(schema: Schema, *, flexible: bool) -> Encode:
    length = _TEXT_LENGTH if schema is Type.STRING else _LENGTH

    def encode(parts: list[bytes], value: str | bytes | None) -> None:
        encoded = value.encode() if isinstance(value, str) else value
        parts.append(_encoded_size(-1 if encoded is None else len(encoded), length, flexible=flexible))
        parts.append(encoded or b"")

    return encode


def _runs(schema: dict[str, Schema]) -> list[tuple[list[str], struct.Struct | None]]:
    """Return the fields in their order: consecutive numbers together with their format, every other field alone."""
    found: list[tuple[list[str], struct.Struct | None]] = []
    for fixed, fields in groupby(schema.items(), lambda field: _is_fixed(field[1])):
        if fixed:
            names, types = zip(*fields, strict=True)
            found.append((list(names), struct.Struct(">" + "".join(each.value for each in types))))
        else:
            found += [([name], None) for name, _ in fields]
    return found


NO_TAGS = b"\x00"  # the end of a struct or header of a flexible version


def skip_tags(message: bytes, at: int) -> int:
    """Return the position behind the tagged fields at the end of a struct or header of a flexible version."""
    number, at = _unsigned_varint(message, at)
    for _ in range(number):
        _, at = _unsigned_varint(message, at)
        size, at = _unsigned_varint(message, at)
        at += size
    return at


def _size(message: bytes, at: int, length: struct.Struct, *, flexible: bool) -> tuple[int, int]:
    if flexible:
        value, at = _unsigned_varint(message, at)
        return value - 1, at
    return length.unpack_from(message, at)[0], at + length.size


def _unsigned_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 the highest bit says that another byte follows
            return value, at
        shift += 7


def _encoded_size(size: int, length: struct.Struct, *, flexible: bool) -> bytes:
    if not flexible:
        return length.pack(size)
    value, encoded = size + 1, bytearray()
    while value > 0x7F:  # noqa: PLR2004 seven bits in each byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def with_size(parts: list[bytes]) -> bytes:
    """Return a whole message: its size and its parts."""
    message = b"".join(parts)
    return _LENGTH.pack(len(message)) + message
