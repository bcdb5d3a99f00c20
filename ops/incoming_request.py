"""Collect the bytes of one HTTP request as they arrive, and report when its last byte is there."""

import re
from enum import Enum, auto

BODY_BYTES_MAX = 1024 * 1024  # as in api/request_parsing.py
HEAD_BYTES_MAX = 64 * 1024  # above gunicorn's limits

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding[ \t]*:[^\r\n]*chunked", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect[ \t]*:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_DIGITS = re.compile(rb"[0-9]{1,19}")
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")


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
