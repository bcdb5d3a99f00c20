"""The HTTP client for external URLs calls no private address and enforces time and size limits."""

import socket
import ssl
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.db import utc_now
from tests.support.receiver import running_receiver
from workers.runtime import safe_http
from workers.runtime.safe_http import HttpResult, UrlNotAllowed, is_public, parse_url, resolve


def send_post(url: str, *, timeout_seconds: float = 2) -> HttpResult:
    headers = {"Content-Type": "application/json"}
    return safe_http.post(url, b"{}", headers, timeout_seconds=timeout_seconds, loopback=True)


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001:80e::200e"])
def test_public_address_is_public(address: str):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.1", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.8"),
        *("192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("168.63.129.16", "2001:4860::5efe:10.0.0.1", "2001:4860::200:5efe:a00:1"),
        *("::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "100::1"),
        *("2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "ff02::1"),
    ],
)
def test_special_address_is_not_public(address: str):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("https://10.0.0.1/", "https://169.254.169.254/latest/meta-data", "https://[fd00::1]/", "https://0/"),
        *(
            "https://167772161/",
            "https://0x0a000001/",
            "https://012.0.0.1/",
            "https://10.1/",
            "https://[::ffff:a00:1]/",
        ),
        *(
            "https://user:password@example.com/",
            "ftp://example.com/",
            "https://",
            "https://example.com:99999/",
            "https:/x",
        ),
        "https://no-such-name.invalid/",
        "http://93.184.216.34/",
    ],
)
def test_unsafe_url_is_rejected(url: str):
    with pytest.raises(UrlNotAllowed):
        resolve(url)


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://localhost/", "https://2130706433/", "https://[::1]/"])
def test_loopback_is_rejected_unless_allowed(url: str):
    assert resolve(url, loopback=True)
    with pytest.raises(UrlNotAllowed):
        resolve(url)


def test_name_with_any_private_address_is_rejected(monkeypatch):
    addresses = [(socket.AF_INET, 1, 6, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    with pytest.raises(UrlNotAllowed):
        resolve("https://example.com/")


def test_dns_rebinding_is_blocked(monkeypatch):
    """The address that was checked is the one that is called, so a second lookup cannot change it."""
    hosts = []

    def rebinding(host, port, **_):
        hosts.append(host)
        address = "127.0.0.1" if len(hosts) == 1 else "10.0.0.1"
        return [(socket.AF_INET, 1, 6, "", (address, port))]

    with running_receiver() as receiver:
        url = receiver.url.replace("127.0.0.1", "hooks.example.com")
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *a, **k: (rebinding if host == "hooks.example.com" else real)(host, *a, **k),
        )
        assert send_post(url).status == 204
        assert receiver.received[0].headers["host"].startswith("hooks.example.com:")
    assert hosts == ["hooks.example.com"]


def test_response_status_is_returned():
    with running_receiver(200, 204, 302, 404, 500) as receiver:
        outcomes = [send_post(receiver.url) for _ in range(5)]

    assert [(each.status, each.error) for each in outcomes] == [(status, None) for status in (200, 204, 302, 404, 500)]


def test_redirect_is_not_followed():
    with running_receiver() as elsewhere:

        def redirect(handler) -> None:
            handler.send_response(307)
            handler.send_header("Location", elsewhere.url)
            handler.end_headers()

        with running_receiver(redirect) as receiver:
            assert send_post(receiver.url).status == 307
        assert elsewhere.received == []


def test_proxy_environment_is_ignored(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with running_receiver() as receiver:
        assert send_post(receiver.url).error is None


def test_closed_port_is_unreachable():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert send_post(f"http://127.0.0.1:{closed.getsockname()[1]}/").error == "unreachable"


@contextmanager
def fake_server(*chunks: bytes, pause_seconds: float = 0.0):
    """Run a server that sends ``chunks`` to its first client, regardless of the request."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    connection.recv(65536)
                    for chunk in chunks:
                        connection.sendall(chunk)
                        time.sleep(pause_seconds)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join(5)


@pytest.mark.parametrize(
    ("chunks", "error"),
    [([b"H"] * 100, "timeout"), ([b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 100], "timeout")],
    ids=["status", "headers"],
)
def test_slow_response_hits_total_deadline(chunks: list[bytes], error: str):
    began = time.monotonic()
    with fake_server(*chunks, pause_seconds=0.05) as url:
        assert send_post(url, timeout_seconds=0.4).error == error
        assert time.monotonic() - began < 1


def test_endless_body_is_not_read():
    with fake_server(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", *[b"x" * 65536] * 50) as url:
        assert send_post(url).error is None  # the status is sufficient


def test_endless_headers_are_rejected():
    with fake_server(b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"y" * 8000 + b"\r\n"] * 50) as url:
        assert send_post(url).error == "response_too_large"


@pytest.mark.parametrize("noise", [b"220 smtp.example.com ESMTP\r\n", b"\x00\x01\x02\r\n\r\n", b""])
def test_non_http_response_is_unreachable(noise: bytes):
    with fake_server(noise) as url:
        assert send_post(url).error == "unreachable"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> str:
    """Create a self-signed certificate of hooks.example.com; return the path of the file with key and certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(utc_now() - timedelta(days=1))
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return str(path)


@pytest.mark.parametrize(
    ("trust", "host", "error"),
    [("us", "hooks.example.com", None), ("us", "other.example.com", "tls"), ("others", "hooks.example.com", "tls")],
    ids=["own name", "other name", "untrusted issuer"],
)
def test_tls_hostname_is_verified_when_connecting_by_ip(
    monkeypatch, certificate: str, trust: str, host: str, error: str | None
):
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate if trust == "us" else None)
    monkeypatch.setattr(safe_http, "_tls", lambda: trusting)
    monkeypatch.setattr(safe_http, "_addresses", lambda *_: [ip_address("127.0.0.1")])
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            plain, _ = server.accept()
            try:
                with served.wrap_socket(plain, server_side=True) as connection:
                    while not connection.recv(65536).endswith(b"{}"):
                        pass
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                plain.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert send_post(f"https://{host}:{server.getsockname()[1]}/hook").error == error
        thread.join(5)


def test_silent_name_server_times_out(monkeypatch):
    lookup_started, stop = threading.Event(), threading.Event()

    def silent(*_, **__):
        lookup_started.set()
        stop.wait(10)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(safe_http, "DNS_TIMEOUT_SECONDS", 0.2)
    began = time.monotonic()
    try:
        assert send_post("https://example.com/", timeout_seconds=0.2).error == "timeout"
        assert lookup_started.is_set()
        with pytest.raises(UrlNotAllowed, match="not resolved in time"):
            resolve("https://example.com/")
        # An abandoned lookup keeps its slot, so the number of lookup threads is limited.
        monkeypatch.setattr(safe_http, "_DNS_SLOTS", threading.BoundedSemaphore(1))
        for _ in range(2):
            assert send_post("https://example.com/", timeout_seconds=0.2).error == "timeout"
        assert len(lookup_threads()) == 3
        assert time.monotonic() - began < 5
    finally:
        stop.set()
        for thread in lookup_threads():
            thread.join()


def lookup_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "name-lookup"]


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://example.com", ("https", "example.com", 443, "/")),
        ("https://Example.com:8443/a/b?c=d&e=%20#part", ("https", "example.com", 8443, "/a/b?c=d&e=%20")),
        ("http://[2606:4700::1111]?q", ("http", "2606:4700::1111", 80, "/?q")),
    ],
)
def test_url_is_parsed_into_its_parts(url: str, read: tuple[str, str, int, str]):
    location = parse_url(url)

    assert (location.scheme, location.host, location.port, location.path) == read


@pytest.mark.parametrize("url", ["https://93.184.216.34:22/", "https://93.184.216.34:25/", "https://93.184.216.34:80/"])
def test_non_https_port_is_rejected(url: str):
    with pytest.raises(UrlNotAllowed, match="port"):
        resolve(url)


def test_unknown_name_is_unreachable_not_rejected():
    assert send_post("https://no-such-name.invalid/").error == "unreachable"
