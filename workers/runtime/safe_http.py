"""HTTP client for URLs that users provide (webhooks, browser push services), protected against SSRF.

It connects to public addresses only. The same strict parser reads a URL when it is registered and when it is called.
The host name is resolved once and the connection is made to the checked address, so that DNS rebinding has no effect.
Redirects are not followed, no proxy is used, and every call ends within its timeout (docs/decisions/0083).
"""

import http.client
import io
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from queue import Empty, SimpleQueue
from typing import Any, Self

import certifi

MAX_RESPONSE_BYTES = 64 * 1024
DNS_TIMEOUT_SECONDS = 3.0  # for ``resolve``, which an HTTP request waits for: below the deadline of the request

# The subset of URLs that all parsers read alike: no userinfo, backslash, space, control or non-ASCII character.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!-\[\]-~]*)?(?P<query>\?[!-\[\]-~]*)?",
)
_PORTS = (443, 8443)  # HTTPS only: mail, database and administration ports cannot be reached
_DNS_SLOTS = threading.BoundedSemaphore(32)  # concurrent lookups, including those whose caller timed out

_IPV6_PUBLIC = IPv6Network("2000::/3")
# Parts of 2000::/3 that embed an IPv4 address (6to4, Teredo) or are reserved for documentation.
_IPV6_NOT_PUBLIC = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
# IETF protocol assignments; 6to4 relays; the platform service that every virtual machine in Azure can reach.
_IPV4_NOT_PUBLIC = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")))
_ISATAP = (0x00005EFE, 0x02005EFE)  # upper half of an interface id that embeds an IPv4 address (RFC 5214)


class UrlNotAllowed(Exception):
    """The URL must not be called; the text states the reason."""


class HostNotFound(UrlNotAllowed):
    """The host name cannot be resolved."""


@dataclass(frozen=True)
class Location:
    """A parsed URL: ``host`` without brackets, ``path`` with the query and without the fragment."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{_url_host(self.host)}:{self.port}"


@dataclass(frozen=True)
class HttpResult:
    """The outcome of a call. ``status`` is None if no response was read; ``error`` then states the reason."""

    status: int | None
    error: str | None  # timeout, tls, unreachable, address_refused, response_too_large
    retry_after_seconds: int | None
    duration_ms: int


@dataclass(frozen=True)
class ResolvedTarget:
    """A URL with its resolved addresses, all of which may be connected to."""

    host: str
    port: int
    path: str
    tls: bool
    addresses: tuple[str, ...]


class ResponseTooLarge(OSError):
    """The receiver sent more than MAX_RESPONSE_BYTES."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether ``address`` is a public unicast address: not private, local, shared, reserved or multicast."""
    if isinstance(address, IPv6Address):
        is_isatap = int(address) >> 32 & 0xFFFFFFFF in _ISATAP
        return address in _IPV6_PUBLIC and not (is_isatap or any(address in each for each in _IPV6_NOT_PUBLIC))
    public = address.is_global and not (address.is_multicast or address.is_reserved)
    return public and not any(address in network for network in _IPV4_NOT_PUBLIC)


def parse_url(url: str) -> Location:
    """Parse a URL. Raises UrlNotAllowed if it is not a plain http or https URL."""
    if not (read := _URL.fullmatch(url.partition("#")[0])):
        raise UrlNotAllowed("it must be an http or https URL in ASCII without user and password")
    port = int(read["port"] or {"http": 80, "https": 443}[read["scheme"]])
    if not 0 < port < 2**16:
        raise UrlNotAllowed("its port is out of range")
    path = (read["path"] or "/") + (read["query"] or "")
    return Location(read["scheme"], read["host"].strip("[]").lower(), port, path)


def resolve(url: str, *, loopback: bool = False) -> ResolvedTarget:
    """Resolve ``url`` and check that it may be called. Raises UrlNotAllowed.

    ``loopback`` also allows loopback addresses, with plain HTTP and any port (development and tests).
    """
    try:
        return _resolve(url, time.monotonic() + DNS_TIMEOUT_SECONDS, loopback=loopback)
    except TimeoutError:
        raise HostNotFound("its host name was not resolved in time") from None


def _resolve(url: str, deadline: float, *, loopback: bool) -> ResolvedTarget:
    """Resolve and check ``url``. Raises UrlNotAllowed, TimeoutError if name resolution exceeds ``deadline``.

    The check uses the addresses of ``getaddrinfo``, so no notation evades it: the host 2130706433 is 127.0.0.1.
    """
    location = parse_url(url)
    addresses = _addresses(location.host, location.port, deadline)
    local = loopback and all(address.is_loopback for address in addresses)
    # A name with public and private addresses is refused too: the connection might use a private one.
    if not local and not all(map(is_public, addresses)):
        raise UrlNotAllowed("its address is not public")
    if location.scheme == "http" and not local:
        raise UrlNotAllowed("it must use https")
    if location.port not in _PORTS and not local:
        raise UrlNotAllowed("its port must be 443 or 8443")
    return ResolvedTarget(
        location.host, location.port, location.path, location.scheme == "https", tuple(map(str, addresses))
    )


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float, loopback: bool = False
) -> HttpResult:
    """Send ``body`` once and return within ``timeout_seconds``. Every failure is returned as an HttpResult."""
    started_at = time.monotonic()
    deadline = started_at + timeout_seconds
    status, error, retry_after = None, None, None
    try:
        response = _request(_resolve(url, deadline, loopback=loopback), body, headers, deadline=deadline)
        status, retry_after = response.status, _parse_retry_after(response.getheader("Retry-After"))
    except HostNotFound:
        error = "unreachable"
    except UrlNotAllowed:
        error = "address_refused"
    except TimeoutError:
        error = "timeout"
    except ssl.SSLError:
        error = "tls"
    except ResponseTooLarge:
        error = "response_too_large"
    except (OSError, http.client.HTTPException, UnicodeError):
        error = "unreachable"
    duration_ms = int((time.monotonic() - started_at) * 1000)
    return HttpResult(status=status, error=error, retry_after_seconds=retry_after, duration_ms=duration_ms)


def _addresses(host: str, port: int, deadline: float) -> list[IPv4Address | IPv6Address]:
    try:
        found = _getaddrinfo_with_timeout(host, port, deadline)
    except (OSError, UnicodeError) as error:
        if isinstance(error, TimeoutError):
            raise
        raise HostNotFound("its host name cannot be resolved") from None
    return [ip_address(str(place[0]).partition("%")[0]) for *_, place in found]


def _getaddrinfo_with_timeout(host: str, port: int, deadline: float) -> list[Any]:
    """Call ``getaddrinfo`` with a deadline. Raises TimeoutError, OSError, UnicodeError.

    ``getaddrinfo`` has no timeout, and unresponsive name servers would block a sender for a minute. It runs in a
    separate thread, which is abandoned at the deadline.
    """
    results: SimpleQueue[list[Any] | Exception] = SimpleQueue()
    slots = _DNS_SLOTS

    def lookup() -> None:
        try:
            results.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            results.put(error)
        finally:
            slots.release()

    if not slots.acquire(timeout=_remaining(deadline)):
        raise TimeoutError
    threading.Thread(target=lookup, name="name-lookup", daemon=True).start()
    try:
        result = results.get(timeout=_remaining(deadline))
    except Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result


def _request(
    target: ResolvedTarget, body: bytes, headers: Mapping[str, str], *, deadline: float
) -> http.client.HTTPResponse:
    with _DeadlineSocket(_connect(target, deadline), deadline) as wire:
        # HTTPConnection only writes and parses HTTP. It gets the checked connection and must not open another one.
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.auto_open = 0
        connection.sock = wire  # has the socket methods that HTTPConnection uses
        connection.request("POST", target.path, body, {**headers, "Connection": "close", "Host": _host_header(target)})
        response = connection.getresponse()
        # Read the body so that the receiver can finish its response. Its content and errors do not matter.
        with suppress(OSError, http.client.HTTPException):
            response.read(MAX_RESPONSE_BYTES)
        return response


def _connect(target: ResolvedTarget, deadline: float) -> socket.socket:
    tcp_socket = _connect_tcp(target, deadline)
    tcp_socket.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )  # headers and body are two writes: do not delay the second
    if not target.tls:
        return tcp_socket
    try:
        tcp_socket.settimeout(_remaining(deadline))
        return _tls().wrap_socket(tcp_socket, server_hostname=target.host)
    except BaseException:
        tcp_socket.close()
        raise


def _connect_tcp(target: ResolvedTarget, deadline: float) -> socket.socket:
    """Connect to the first address that accepts; each gets an equal share of the time that is left."""
    for number, address in enumerate(target.addresses):
        others = len(target.addresses) - number
        try:
            return socket.create_connection((address, target.port), timeout=_remaining(deadline) / others)
        except OSError:
            if others == 1:
                raise
    raise AssertionError("a target has an address")


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # a slim container image may have no CA certificates
    return context


class _DeadlineSocket:
    """A connected socket whose operations share one deadline.

    A timeout per operation would let a receiver that sends single bytes keep the call open without end.
    """

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(_remaining(self._deadline))
        self._connection.sendall(data)

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._connection, self._deadline))

    def close(self) -> None:
        """Do nothing. HTTPConnection calls this before the response is read; ``__exit__`` closes the socket."""


class _DeadlineReader(io.RawIOBase):
    """Reads the response until the deadline (TimeoutError) or MAX_RESPONSE_BYTES bytes (ResponseTooLarge)."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        super().__init__()
        self._connection = connection
        self._deadline = deadline
        self._bytes_left = MAX_RESPONSE_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._bytes_left <= 0:
            raise ResponseTooLarge
        self._connection.settimeout(_remaining(self._deadline))
        count = self._connection.recv_into(buffer)
        self._bytes_left -= count
        return count


def _remaining(deadline: float) -> float:
    """Return the seconds until ``deadline`` (monotonic). Raises TimeoutError after it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _host_header(target: ResolvedTarget) -> str:
    """Return the value of the Host header, with the port unless it is the default."""
    host = _url_host(target.host)
    return host if target.port == (443 if target.tls else 80) else f"{host}:{target.port}"


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _parse_retry_after(retry_after: str | None) -> int | None:
    """Return Retry-After in seconds; None for the HTTP-date form, which is ignored."""
    return int(retry_after) if retry_after and retry_after.isascii() and retry_after.isdecimal() else None
