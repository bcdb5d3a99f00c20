"""The client address is taken from trusted proxies only and parsed in every notation that proxies use."""

import pytest
from flask import Flask

import settings
from core import addresses
from core.addresses import client_address, client_bucket


@pytest.fixture
def resolve_address(monkeypatch):
    """Return a function that resolves the address of a request from ``peer`` with the X-Forwarded-For ``forwarded``."""

    def resolve(
        peer: str, forwarded: str | None, *, proxies: int = 1, networks: tuple[str, ...] = ()
    ) -> tuple[str, str]:
        monkeypatch.setattr(settings, "TRUSTED_PROXIES", proxies)
        monkeypatch.setattr(settings, "TRUSTED_PROXY_NETWORKS", networks)
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        with Flask("test").test_request_context(headers=headers, environ_base={"REMOTE_ADDR": peer}):
            return client_address(), client_bucket()

    return resolve


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("10.0.0.1", "203.0.113.9", {"proxies": 0}, "10.0.0.1"),
        ("10.0.0.1", None, {}, "10.0.0.1"),
        ("10.0.0.1", "", {}, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", {}, "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", {"proxies": 2}, "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9", {"proxies": 2}, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", {"networks": ("10.0.0.0/8",)}, "203.0.113.9"),
        ("192.0.2.1", "203.0.113.9", {"networks": ("10.0.0.0/8", "fd00::/8")}, "192.0.2.1"),
        ("::ffff:10.0.0.1", "203.0.113.9", {"networks": ("10.0.0.0/8",)}, "203.0.113.9"),
    ],
)
def test_forwarded_address_is_used_from_trusted_proxies_only(resolve_address, peer, forwarded, trusted, address):
    assert resolve_address(peer, forwarded, **trusted)[0] == address


@pytest.mark.parametrize(
    ("written", "address", "bucket"),
    [
        ("1.2.3.4:5678", "1.2.3.4", "1.2.3.4"),
        ("[2001:db8::1]:443", "2001:db8::1", "2001:db8::"),
        ("[2001:db8::1]", "2001:db8::1", "2001:db8::"),
        ("2001:DB8:0:0:1::2", "2001:db8::1:0:0:2", "2001:db8::"),
        ('"[2001:db8::1]"', "2001:db8::1", "2001:db8::"),
        ("fe80::1%eth0", "fe80::1", "fe80::"),
        ("::ffff:1.2.3.4", "1.2.3.4", "1.2.3.4"),
        ("[::ffff:1.2.3.4]:80", "1.2.3.4", "1.2.3.4"),
    ],
)
def test_address_is_parsed_in_every_notation(resolve_address, written, address, bucket):
    assert resolve_address("10.0.0.1", written) == (address, bucket)


@pytest.mark.parametrize("written", ["unknown", "a:b", "x" * 300, "1.2.3.4.5", "[", "]:", "_hidden", "%", "1.2.3.4,"])
def test_unreadable_addresses_share_one_bucket(resolve_address, written):
    assert resolve_address("10.0.0.1", written) == (addresses.UNKNOWN, addresses.UNKNOWN)


def test_missing_peer_is_unknown(resolve_address):
    assert resolve_address("", None) == (addresses.UNKNOWN, addresses.UNKNOWN)
