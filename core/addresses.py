"""Client IP addresses, with and without trusted proxies."""

from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from flask import request

import settings

UNKNOWN = "unknown"
_IPV6_NETWORK_BITS = 64  # IPv6 providers assign at least a /64 to each client


def client_address() -> str:
    """Return the client's IP address, or "unknown" if it cannot be parsed.

    X-Forwarded-For is used only if TRUSTED_PROXIES is set and the connection comes from TRUSTED_PROXY_NETWORKS (any
    peer if that is empty). Otherwise clients could forge their address.
    """
    peer = request.environ.get("REMOTE_ADDR", "")
    if not settings.TRUSTED_PROXIES or not _is_proxy(peer):
        return _normalize(peer)
    hops = request.environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
    return _normalize(hops[-settings.TRUSTED_PROXIES] if len(hops) >= settings.TRUSTED_PROXIES and any(hops) else peer)


def client_bucket() -> str:
    """Return the rate limit key of the client: its IPv4 address, or its IPv6 /64 network."""
    address = client_address()
    if ":" not in address:
        return address
    return str(IPv6Network((int(IPv6Address(address)), _IPV6_NETWORK_BITS), strict=False).network_address)


@cache
def _networks(networks: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(ip_network(each, strict=False) for each in networks)


def _is_proxy(peer: str) -> bool:
    if not settings.TRUSTED_PROXY_NETWORKS:
        return True
    address = parse_address(peer)
    return address is not None and any(address in each for each in _networks(settings.TRUSTED_PROXY_NETWORKS))  # type: ignore[operator]  # networks


def _normalize(written: str) -> str:
    address = parse_address(written)
    return UNKNOWN if address is None else str(address)


def parse_address(written: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address in the forms that proxies write: with port, brackets, zone or as IPv4-mapped IPv6.

    Returns None if the text is not an address.
    """
    text = written.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
