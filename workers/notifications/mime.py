"""Mail messages as bytes: headers are encoded here, and the result is checked before it is sent.

The folding of ``email.policy`` is not used. It decodes encoded words of its input, encodes headers that must stay plain
(List-Unsubscribe), loses spaces and quotes, and does each differently by the version of Python.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence

LINE_MAX_BYTES = 998  # RFC 5322, 2.1.1, without CRLF
_LINE_OF_WORDS_MAX = 76  # of a line that holds an encoded word (RFC 2047, 2)
_WORD_OVERHEAD = len("=?utf-8?b??=")
_PLAIN_MAX = 60  # letters of a subject or name that is sent as it is

_PLAIN = re.compile(r"[ -~]*")
_FIELD = re.compile(rb"([!-9;-~]+): ?(.*)", re.DOTALL)
_BARE_BREAK = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")


class MalformedMail(ValueError):
    """A message that must not be sent; a fault of this program, found in time."""


def unstructured(name: str, text: str) -> str:
    """Encode ``text`` as the value of the header ``name``: plain where short ASCII, else encoded words (RFC 2047)."""
    return text if _is_plain(text) else encoded_words(text, indent=len(name) + 2)


def mailbox(name: str, display_name: str, address: str) -> str:
    """Encode a display name and an address as the value of the header ``name``. ``address`` is valid already."""
    if not display_name:
        return address
    if _is_plain(display_name):
        phrase = '"' + re.sub(r'(["\\])', r"\\\1", display_name) + '"'
    else:
        phrase = encoded_words(display_name, indent=len(name) + 2)
    # On a line of its own, so that the line of the phrase keeps its limit.
    return f"{phrase}\r\n <{address}>"


def encoded_words(text: str, *, indent: int) -> str:
    """Encode ``text`` as encoded words, one a line; ``indent`` is the length of what precedes the first."""
    room, words, held = _room(indent), [], b""
    for letter in text:
        octets = letter.encode()
        if len(held) + len(octets) > room:
            words.append(held)
            room, held = _room(1), b""
        held += octets
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in [*words, held])


def _room(indent: int) -> int:
    return (_LINE_OF_WORDS_MAX - indent - _WORD_OVERHEAD) // 4 * 3


def _is_plain(text: str) -> bool:
    # What looks like an encoded word is encoded itself, so that readers see it as it was written. Readers drop space
    # at the ends, which encoded words keep.
    return len(text) <= _PLAIN_MAX and bool(_PLAIN.fullmatch(text)) and "=?" not in text and text == text.strip()


def message(headers: Mapping[str, str], parts: Sequence[tuple[str, str]], *, boundary: str, utf8: bool) -> bytes:
    """Return a multipart/alternative message of ``headers``, whose values are encoded, and of (subtype, text) parts.

    Raises MalformedMail where the bytes are not exactly these headers and parts; ``utf8`` allows letters beyond ASCII
    in headers (RFC 6532).
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
    # Ends of lines are kept, and everything beyond ASCII is encoded: any server on the way takes it.
    printable = binascii.b2a_qp(lines.encode(), istext=True).replace(b"\n", b"\r\n")
    head = (
        f'--{boundary}\r\nContent-Type: text/{subtype}; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    return head.encode() + printable + b"\r\n"


def check(raw: bytes, *, names: Sequence[str], utf8: bool) -> None:
    """Raise MalformedMail unless ``raw`` has exactly the headers ``names``, in order, and whole lines."""
    if _BARE_BREAK.search(raw):
        raise MalformedMail("a bare line break or NUL")
    head, _, body = raw.partition(b"\r\n\r\n")
    if any(len(line) > LINE_MAX_BYTES for line in raw.split(b"\r\n")):
        raise MalformedMail("a line is too long")
    if not (body.isascii() and (utf8 or head.isascii())):
        raise MalformedMail("letters beyond ASCII")
    found = [name.decode() for name, _ in _fields(head)]
    if found != list(names):
        raise MalformedMail(f"headers {found}")


def _fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for field in re.split(rb"\r\n(?![ \t])", head):
        if not (read := _FIELD.fullmatch(field)):
            raise MalformedMail("a line that is no header")
        yield read[1], read[2]
