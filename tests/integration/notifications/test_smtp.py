"""TLS to the SMTP server: its certificate is verified, and TLS is required before a login."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from prometheus_client import REGISTRY

import settings
from models.notifications import DeliveryState
from tests.integration.notifications.factories import close_idle_smtp_connections
from workers.notifications.channels import smtp
from workers.notifications.channels.email import send_email
from workers.notifications.channels.smtp import Mail

MAIL = Mail("no-reply@coursebus.dev", "ann@example.com", b"Subject: x\r\n\r\nbody\r\n", needs_utf8=False)


class Certificate:
    """A self-signed certificate for one name or address, in a file."""

    def __init__(self, home: Path, subject: x509.GeneralName) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        at = datetime.now(UTC)
        signed = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(at - timedelta(days=1))
            .not_valid_after(at + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.path = home / "certificate.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.path.write_bytes(private + signed.public_bytes(Encoding.PEM))

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context


@pytest.fixture
def certificate(tmp_path, monkeypatch) -> Certificate:
    """A certificate of 127.0.0.1 that this machine trusts."""
    certificate = Certificate(tmp_path, x509.IPAddress(ip_address("127.0.0.1")))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    return certificate


@pytest.fixture
def foreign_certificate(tmp_path, monkeypatch) -> Certificate:
    """A trusted certificate of another host name."""
    certificate = Certificate(tmp_path, x509.DNSName("mail.other.example"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    return certificate


class Server:
    """A server that records logins and mails, each with whether TLS was used."""

    def __init__(self) -> None:
        self.connections = 0
        self.responses: list[str] = []  # to the next mails; "250 kept" if there is none
        self.logins: list[tuple[bytes, bytes, bool]] = []
        self.mails: list[tuple[list[str], bool]] = []

    def authenticate(self, _server, session, _envelope, _mechanism, data: LoginPassword) -> AuthResult:
        self.logins.append((data.login, data.password, session.ssl is not None))
        return AuthResult(success=True)

    async def handle_DATA(self, _server, session, envelope) -> str:  # noqa: N802 aiosmtpd's name
        self.mails.append((envelope.rcpt_tos, session.ssl is not None))
        return self.responses.pop(0) if self.responses else "250 kept"

    async def handle_EHLO(self, _server, session, _envelope, hostname, responses: list[str]) -> list[str]:  # noqa: N802 aiosmtpd's name
        self.connections += 1
        session.host_name = hostname
        return responses


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable[..., Server]]:
    """Return ``serve(url, …)``, which starts aiosmtpd with these arguments.

    SMTP_URL becomes ``url`` with the server's port in the place of PORT.
    """
    running: list[Controller] = []
    monkeypatch.setattr(smtp, "_connections", smtp.IdleConnections())

    def serve(url: str, **options) -> Server:
        server = Server()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        if not options.pop("no_login", False):
            options |= {"authenticator": server.authenticate}
        controller = Controller(server, hostname="127.0.0.1", port=port, **options)
        controller.start()
        running.append(controller)
        monkeypatch.setattr(settings, "SMTP_URL", url.replace("PORT", str(port)))
        return server

    yield serve
    close_idle_smtp_connections()
    for controller in running:
        controller.stop()


def send(mail: Mail = MAIL) -> tuple[DeliveryState, str | None]:
    with smtp.mailer(None) as mailer:
        outcome = send_email(mailer, mail)
    return outcome.state, outcome.reason


def test_smtps_sends_after_certificate_verification(serve, certificate):
    server = serve("smtps://127.0.0.1:PORT", ssl_context=certificate.context(), no_login=True)

    assert send() == (DeliveryState.SENT, None)
    assert len(server.mails) == 1


# raised on aiosmtpd's side of the handshake
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("url", ["smtps://relay:s3cret@127.0.0.1:PORT", "smtp://relay:s3cret@127.0.0.1:PORT"])
def test_wrong_hostname_gets_neither_mail_nor_password(serve, foreign_certificate, url: str):
    context = foreign_certificate.context()
    tls = {"ssl_context": context} if url.startswith("smtps") else {"tls_context": context}
    server = serve(url, **tls)

    assert send() == (DeliveryState.QUEUED, "not_accepted")
    assert (server.logins, server.mails) == ([], [])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as above
def test_untrusted_certificate_is_rejected(serve, certificate, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    server = serve("smtps://127.0.0.1:PORT", ssl_context=certificate.context(), no_login=True)

    assert send() == (DeliveryState.QUEUED, "not_accepted")
    assert server.mails == []


def test_starttls_precedes_login_with_decoded_credentials(serve, certificate):
    server = serve("smtp://relay%40shop:p%3Aw%2F%25@127.0.0.1:PORT", tls_context=certificate.context())

    assert send() == (DeliveryState.SENT, None)
    assert server.logins == [(b"relay@shop", b"p:w/%", True)]
    assert server.mails == [(["ann@example.com"], True)]


def test_login_without_tls_is_rejected(serve, monkeypatch):
    monkeypatch.setattr(smtp, "_is_loopback", lambda _host: False)
    server = serve("smtp://relay:s3cret@127.0.0.1:PORT", auth_require_tls=False)

    assert send() == (DeliveryState.QUEUED, "not_accepted")
    assert (server.logins, server.mails) == ([], [])


@pytest.mark.parametrize(
    ("production", "is_allowed", "outcome"),
    [
        (True, False, (DeliveryState.QUEUED, "not_accepted")),
        (True, True, (DeliveryState.SENT, None)),
        (False, False, (DeliveryState.SENT, None)),
    ],
)
def test_production_requires_tls_for_remote_smtp(serve, monkeypatch, production, is_allowed, outcome):
    monkeypatch.setattr(smtp, "_is_loopback", lambda _host: False)
    monkeypatch.setattr(settings, "PRODUCTION", production)
    monkeypatch.setattr(settings, "ALLOW_PLAINTEXT_SERVERS", is_allowed)
    server = serve("smtp://127.0.0.1:PORT", no_login=True)

    assert send() == outcome
    assert len(server.mails) == (outcome[0] is DeliveryState.SENT)


@pytest.mark.parametrize("url", ["smtp+insecure://relay:pw@127.0.0.1:PORT", "smtp://relay:pw@127.0.0.1:PORT"])
def test_login_without_tls_is_allowed_if_insecure_or_loopback(serve, url: str):
    server = serve(url, auth_require_tls=False)

    assert send() == (DeliveryState.SENT, None)
    assert server.logins == [(b"relay", b"pw", False)]


def test_non_ascii_address_is_sent_with_smtputf8(serve):
    server = serve("smtp://127.0.0.1:PORT", enable_SMTPUTF8=True, no_login=True)
    raw = "To: jürgen@example.test\r\n\r\nbody\r\n".encode()

    assert send(Mail("no-reply@coursebus.dev", "jürgen@example.test", raw, needs_utf8=True)) == (
        DeliveryState.SENT,
        None,
    )
    assert server.mails == [(["jürgen@example.test"], False)]


def test_non_ascii_address_fails_without_smtputf8(serve):
    server = serve("smtp://127.0.0.1:PORT", enable_SMTPUTF8=False, no_login=True)

    outcome = send(Mail("no-reply@coursebus.dev", "jürgen@example.test", b"To: x\r\n\r\n", needs_utf8=True))

    assert outcome == (DeliveryState.FAILED, "address_not_supported")
    assert server.mails == []


def test_next_mail_uses_the_open_connection(serve, monkeypatch):
    monkeypatch.setattr(smtp, "MAX_MAILS", 3)
    server = serve("smtp://127.0.0.1:PORT", no_login=True)

    outcomes = [send() for _ in range(4)]

    assert outcomes == [(DeliveryState.SENT, None)] * 4
    assert (len(server.mails), server.connections) == (4, 2)


def test_idle_connection_is_closed(serve, monkeypatch):
    closed = threading.Event()
    quit_session = smtp._quit  # noqa: SLF001 closing has no other effect
    monkeypatch.setattr(smtp, "_quit", lambda session: (quit_session(session), closed.set()))
    monkeypatch.setattr(smtp, "IDLE_SECONDS", 0.05)
    serve("smtp://127.0.0.1:PORT", no_login=True)

    send()

    assert closed.wait(5)


def test_connection_closed_by_the_server_is_replaced(serve):
    server = serve("smtp://127.0.0.1:PORT", no_login=True, timeout=0.05)  # aiosmtpd closes idle connections after it
    send()
    smtp._connections._idle[-1].smtp.sock.recv(1, socket.MSG_PEEK)  # noqa: SLF001 returns when the server has closed it

    assert send() == (DeliveryState.SENT, None)
    assert server.connections == 2


def test_connection_is_not_used_after_a_rejection(serve):
    server = serve("smtp://127.0.0.1:PORT", no_login=True)
    server.responses = ["554 refused"]
    rejected = {"to": "smtp", "call": "send", "outcome": "rejected"}
    before = REGISTRY.get_sample_value("coursebus_external_call_seconds_count", rejected) or 0

    assert [send(), send()] == [(DeliveryState.FAILED, "smtp_554"), (DeliveryState.SENT, None)]
    assert server.connections == 2
    assert REGISTRY.get_sample_value("coursebus_external_call_seconds_count", rejected) == before + 1
