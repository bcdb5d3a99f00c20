"""One POST to an address that somebody else has chosen: to public addresses only, within a time, in small bites.

The name is resolved once and the connection made to the address that was looked at, so that a name which answers
otherwise the second time leads nowhere. Redirects are not followed, and no proxy is asked.
"""

import http.client
import io
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from queue import Empty, SimpleQueue
from typing import Any, Self
from urllib.parse import urlsplit

import certifi

import settings
from models.errors import WebhookUrlRefused
from models.integrations import Outcome

ANSWER_BYTES_MAX = 64 * 1024
NAME_SECONDS = 3.0  # for a name that somebody waits for: less than they do

_GOOD = range(200, 300)
_LOOKING = threading.BoundedSemaphore(32)  # names asked for at once, those included that nobody waits for any more

_IPV6_PUBLIC = IPv6Network("2000::/3")
# Within it: what carries an IPv4 address along (6to4, Teredo), and what is only written in books.
_IPV6_NOT_PUBLIC = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_IPV4_NOT_PUBLIC = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24")))  # protocols; relays of 6to4


@dataclass(frozen=True)
class Target:
    """Where a URL leads, resolved and found to be allowed."""

    host: str
    port: int
    path: str
    tls: bool
    addresses: tuple[str, ...]


class AnswerTooLarge(OSError):
    """The receiver says more than anybody wants to hear."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether ``address`` is somebody's in the public internet: not private, local, shared, reserved or multicast."""
    if isinstance(address, IPv6Address):
        return address in _IPV6_PUBLIC and not any(address in network for network in _IPV6_NOT_PUBLIC)
    public = address.is_global and not (address.is_multicast or address.is_reserved)
    return public and not any(address in network for network in _IPV4_NOT_PUBLIC)


def resolve(url: str) -> Target:
    """Where ``url`` leads. Raises WebhookUrlRefused where that is nowhere, or not for webhooks."""
    try:
        return _resolved(url, time.monotonic() + NAME_SECONDS)
    except TimeoutError:
        raise WebhookUrlRefused("its name is not found in time") from None


def _resolved(url: str, deadline: float) -> Target:
    """As ``resolve``; raises TimeoutError where the name servers take longer.

    However an address is written, here it is what the system would connect to: 2130706433 is 127.0.0.1.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        raise WebhookUrlRefused("it is no http or https URL") from None
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise WebhookUrlRefused("it needs a host, and neither user nor password")
    addresses = _addresses(parts.hostname, port, deadline)
    local = settings.WEBHOOK_LOOPBACK and all(address.is_loopback for address in addresses)
    # One that is private among public ones is a trap as well.
    if not local and not all(map(is_public, addresses)):
        raise WebhookUrlRefused("its address is not public")
    if parts.scheme == "http" and not local:
        raise WebhookUrlRefused("it has to be https")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.hostname, port, path, parts.scheme == "https", tuple(map(str, addresses)))


def post(url: str, body: bytes, headers: dict[str, str], *, timeout_seconds: float) -> Outcome:
    """Send ``body`` once; every end is an Outcome, and comes within ``timeout_seconds``."""
    began = time.monotonic()
    deadline = began + timeout_seconds
    status, error, retry_after = None, None, None
    try:
        answer = _exchange(_resolved(url, deadline), body, headers, deadline=deadline)
        status, retry_after = answer.status, _seconds(answer.getheader("Retry-After"))
        error = None if status in _GOOD else f"status_{status}"
    except WebhookUrlRefused:
        error = "address_refused"
    except TimeoutError:
        error = "timeout"
    except ssl.SSLError:
        error = "tls"
    except AnswerTooLarge:
        error = "answer_too_large"
    except (OSError, http.client.HTTPException, UnicodeError):
        error = "unreachable"
    duration_ms = int((time.monotonic() - began) * 1000)
    return Outcome(status_code=status, error=error, duration_ms=duration_ms, retry_after_seconds=retry_after)


def _addresses(host: str, port: int, deadline: float) -> list[IPv4Address | IPv6Address]:
    try:
        found = _looked_up(host, port, deadline)
    except (OSError, UnicodeError) as error:
        if isinstance(error, TimeoutError):
            raise
        raise WebhookUrlRefused("its name leads nowhere") from None
    return [ip_address(str(place[0]).partition("%")[0]) for *_, place in found]


def _looked_up(host: str, port: int, deadline: float) -> list[Any]:
    """``getaddrinfo``, which knows no time-out: name servers that keep silent would hold a sender for a minute.

    So it is asked by a thread of its own, which is left alone when it takes too long. Raises TimeoutError, OSError.
    """
    answers: SimpleQueue[list[Any] | Exception] = SimpleQueue()
    places = _LOOKING

    def look() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)
        finally:
            places.release()

    if not places.acquire(timeout=_left(deadline)):
        raise TimeoutError
    threading.Thread(target=look, name="name of a webhook", daemon=True).start()
    try:
        answer = answers.get(timeout=_left(deadline))
    except Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _exchange(target: Target, body: bytes, headers: dict[str, str], *, deadline: float) -> http.client.HTTPResponse:
    with _Wire(_connected(target, deadline), deadline) as wire:
        # Only writes and parses HTTP: it is given its connection, and would not know how to make another.
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.auto_open = 0
        connection.sock = wire  # as much of a socket as it uses
        connection.request("POST", target.path, body, {**headers, "Connection": "close", "Host": _host_of(target)})
        answer = connection.getresponse()
        # Heard out, so that the receiver is not cut off. Nobody looks at it: the status has said all.
        with suppress(OSError, http.client.HTTPException):
            answer.read(ANSWER_BYTES_MAX)
        return answer


def _connected(target: Target, deadline: float) -> socket.socket:
    plain = _reached(target, deadline)
    plain.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )  # head and body are two writes: the second waits for none
    if not target.tls:
        return plain
    try:
        plain.settimeout(_left(deadline))
        return _tls().wrap_socket(plain, server_hostname=target.host)
    except BaseException:
        plain.close()
        raise


def _reached(target: Target, deadline: float) -> socket.socket:
    """A connection to the first address that takes one; none may use up the time of those after it."""
    for number, address in enumerate(target.addresses):
        others = len(target.addresses) - number
        try:
            return socket.create_connection((address, target.port), timeout=_left(deadline) / others)
        except OSError:
            if others == 1:
                raise
    raise AssertionError("a target has an address")


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # a slim image may have none of its own
    return context


class _Wire:
    """A connected socket, each of whose operations has what is left until ``deadline``: dripping helps nobody."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(_left(self._deadline))
        self._connection.sendall(data)

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reading(self._connection, self._deadline))

    def close(self) -> None:
        """Left to the block: the answer is still being read when HTTPConnection has done with us."""


class _Reading(io.RawIOBase):
    def __init__(self, connection: socket.socket, deadline: float) -> None:
        super().__init__()
        self._connection = connection
        self._deadline = deadline
        self._bytes_left = ANSWER_BYTES_MAX

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._bytes_left <= 0:
            raise AnswerTooLarge
        self._connection.settimeout(_left(self._deadline))
        count = self._connection.recv_into(buffer)
        self._bytes_left -= count
        return count


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _host_of(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host.encode("idna").decode()
    return host if target.port == (443 if target.tls else 80) else f"{host}:{target.port}"


def _seconds(retry_after: str | None) -> int | None:
    """Retry-After in seconds; a date is not worth the trouble."""
    return int(retry_after) if retry_after and retry_after.isascii() and retry_after.isdecimal() else None
