"""The event loop of the worker passes a request on when its last byte has arrived, never earlier."""

import pytest

from api.request_parsing import BODY_BYTES_MAX as BODY_BYTES_MAX_OF_THE_API
from ops.incoming_request import BODY_BYTES_MAX, HEAD_BYTES_MAX, IncomingRequest, ReadState

GET = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
WHOLE = [
    GET,
    b"\r\n\r\n" + GET,
    POST + b"Content-Length: 0\r\n\r\n",
    POST + b"content-length:5\r\n\r\nhello",
    POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: gzip, Chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n\r\n\r\n0\r\nTrailer: a\r\n\r\n",
]


def test_body_limit_matches_the_api():
    assert BODY_BYTES_MAX == BODY_BYTES_MAX_OF_THE_API


@pytest.mark.parametrize("request_bytes", WHOLE, ids=range(len(WHOLE)))
def test_request_is_complete_at_its_last_byte(request_bytes: bytes):
    incoming = IncomingRequest()
    states = [incoming.add(request_bytes[at : at + 1]) for at in range(len(request_bytes))]

    assert states == [ReadState.PARTIAL] * (len(request_bytes) - 1) + [ReadState.COMPLETE]
    assert bytes(incoming.data) == request_bytes.lstrip(b"\r\n")


@pytest.mark.parametrize("request_bytes", WHOLE, ids=range(len(WHOLE)))
def test_bytes_of_the_next_request_are_kept(request_bytes: bytes):
    incoming = IncomingRequest()

    assert incoming.add(request_bytes + GET[:7]) is ReadState.COMPLETE
    assert bytes(incoming.data) == request_bytes.lstrip(b"\r\n") + GET[:7]


@pytest.mark.parametrize(
    "malformed",
    [
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: \r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(5),
)
def test_malformed_request_is_passed_to_the_parser(malformed: bytes):
    assert IncomingRequest().add(malformed) is ReadState.COMPLETE


def test_oversized_request_is_rejected_early():
    assert IncomingRequest().add(b"GET /" + b"x" * HEAD_BYTES_MAX) is ReadState.HEAD_TOO_LONG
    assert IncomingRequest().add(POST + b"Content-Length: %d\r\n\r\n" % BODY_BYTES_MAX) is ReadState.PARTIAL
    assert IncomingRequest().add(POST + b"Content-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1)) is ReadState.BODY_TOO_LONG

    chunked = IncomingRequest()
    chunked.add(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
    states = [chunked.add(chunk) for _ in range(20)]
    assert states[0] is ReadState.PARTIAL
    assert states[-1] is ReadState.BODY_TOO_LONG


def test_expect_continue_header_is_detected_and_removed():
    incoming = IncomingRequest()
    incoming.add(POST + b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n")

    assert incoming.expects_continue
    assert incoming.add(b"{}") is ReadState.COMPLETE
    assert bytes(incoming.data) == POST + b"Content-Length: 2\r\n\r\n{}"
