"""Build mail messages as bytes: encode headers and bodies, and check the result before it is sent.

``email.policy`` is not used for folding. It decodes encoded words in its input, encodes headers that must not be
encoded (List-Unsubscribe) and loses spaces and quotes; the details depend on the Python version.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence

LINE_MAX_BYTES = 998  # RFC 5322, 2.1.1, without CRLF
_LINE_OF_WORDS_MAX = 76  # of a line with an encoded word (RFC 2047, 2)
_WORD_OVERHEAD = len("=?utf-8?b??=")
_PLAIN_MAX = 60  # characters of a subject or name that is sent unencoded

_PLAIN = re.compile(r"[ -~]*")
_FIELD = re.compile(rb"([!-9;-~]+): ?(.*)", re.DOTALL)
_BARE_BREAK = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")


class MalformedMail(ValueError):
    """The composed message is malformed and must not be sent. Indicates a bug in this program."""


def unstructured(name: str, text: str) -> str:
    """Encode ``text`` for the header ``name``: short ASCII text stays plain, else encoded words (RFC 2047)."""
    return text if _is_plain(text) else encoded_words(text, indent=len(name) + 2)


def mailbox(name: str, display_name: str, address: str) -> str:
    """Encode a display name and an address for the header ``name``. ``address`` must be valid."""
    if not display_name:
        return address
    if _is_plain(display_name):
        phrase = '"' + re.sub(r'(["\\])', r"\\\1", display_name) + '"'
    else:
        phrase = encoded_words(display_name, indent=len(name) + 2)
    # Fold before the address, so that the line of the phrase stays within its limit.
    return f"{phrase}\r\n <{address}>"


def encoded_words(text: str, *, indent: int) -> str:
    """Encode ``text`` as encoded words, one per line. ``indent`` is the length of the text before the first word."""
    room, words, chunk = _room(indent), [], b""
    for character in text:
        octets = character.encode()
        if len(chunk) + len(octets) > room:
            words.append(chunk)
            room, chunk = _room(1), b""
        chunk += octets
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in [*words, chunk])


def _room(indent: int) -> int:
    return (_LINE_OF_WORDS_MAX - indent - _WORD_OVERHEAD) // 4 * 3


def _is_plain(text: str) -> bool:
    # Text that looks like an encoded word is encoded, so that mail clients show it literally. The same goes for
    # leading and trailing spaces, which clients would strip.
    return len(text) <= _PLAIN_MAX and bool(_PLAIN.fullmatch(text)) and "=?" not in text and text == text.strip()


def message(headers: Mapping[str, str], parts: Sequence[tuple[str, str]], *, boundary: str, utf8: bool) -> bytes:
    """Return a multipart/alternative message of (subtype, text) ``parts``. Values of ``headers`` must be encoded.

    ``utf8`` allows non-ASCII characters in headers (RFC 6532). Raises MalformedMail if the result has other headers.
    """
    full = {
        **headers,
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/alternative; boundary="{boundary}"',
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in full.items()).encode()
    body = b"".join(_part(subtype, text, boundary) for subtype, text in parts) + f"--{boundary}--\r\n".encode()
    raw = head + b"\r\n" + body
    check(raw, names=list(full), utf8=utf8)
    return raw


def _part(subtype: str, text: str, boundary: str) -> bytes:
    lines = "\n".join(text.splitlines()) + "\n"
    # Line breaks stay and non-ASCII bytes are encoded, so that every mail server can transport the text.
    printable = binascii.b2a_qp(lines.encode(), istext=True).replace(b"\n", b"\r\n")
    head = (
        f'--{boundary}\r\nContent-Type: text/{subtype}; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    return head.encode() + printable + b"\r\n"


def check(raw: bytes, *, names: Sequence[str], utf8: bool) -> None:
    """Raise MalformedMail unless ``raw`` has exactly the headers ``names`` in order, CRLF and short lines."""
    if _BARE_BREAK.search(raw):
        raise MalformedMail("a bare line break or NUL")
    head, _, body = raw.partition(b"\r\n\r\n")
    if any(len(line) > LINE_MAX_BYTES for line in raw.split(b"\r\n")):
        raise MalformedMail("a line is too long")
    if not (body.isascii() and (utf8 or head.isascii())):
        raise MalformedMail("non-ASCII characters")
    found = [name.decode() for name, _ in _fields(head)]
    if found != list(names):
        raise MalformedMail(f"headers {found}")


def _fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for field in re.split(rb"\r\n(?![ \t])", head):
        if not (read := _FIELD.fullmatch(field)):
            raise MalformedMail("a line that is not a header")
        yield read[1], read[2]
