"""SMTP client: TLS with verified certificates.

No login, and in production no mail, is sent to another machine without TLS, except by smtp+insecure.
"""

import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

import certifi

import settings
from core.metrics import REJECTED, UNAVAILABLE, observe_external_call
from workers.runtime.dependencies import dependency
from workers.runtime.execution import TaskExecution


@dataclass(frozen=True)
class Mail:
    """A composed message with its envelope addresses."""

    sender: str
    recipient: str
    raw: bytes
    needs_utf8: bool  # requires a server with SMTPUTF8


Mailer = Callable[[Mail], None]

_SCHEMES = ("smtp", "smtps", "smtp+insecure")
_TIMEOUT_SECONDS = 10
_OK = 250
_PERMANENT = 500  # RFC 5321, 4.2.1: 5yz is a permanent failure
# Of an open connection. Providers close idle ones long before the five minutes of RFC 5321 (4.5.3.2.7), accept some
# 50 mails over one, and ask senders not to keep any for long, because they replace their servers.
IDLE_SECONDS, MAX_MAILS = 4.0, 50
_SUBMISSION_TLS_PORT, _RELAY_PORT = 465, 25


class ServerUnreachable(smtplib.SMTPException):
    """Connection, TLS or login failed before a message was sent."""


@dependency
def mailer(_execution: TaskExecution) -> Iterator[Mailer]:
    """Provide ``mailer(mail)``, which sends a mail to the SMTP server. It raises OSError or SMTPException."""
    yield _send_mail


def _send_mail(mail: Mail) -> None:
    refusal: smtplib.SMTPException | None = None
    with observe_external_call("smtp", "send") as call:
        options = ["SMTPUTF8", "BODY=8BITMIME"] if mail.needs_utf8 else []
        try:
            with _session() as smtp:
                smtp.sendmail(mail.sender, [mail.recipient], mail.raw, options)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError) as error:
            # A permanent refusal is about this mail, and the server works: ProviderErrors must not fire.
            refusal, call.outcome = error, REJECTED if _code_of(error) >= _PERMANENT else UNAVAILABLE
    if refusal:
        raise refusal


def _code_of(error: smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError) -> int:
    if isinstance(error, smtplib.SMTPDataError):
        return error.smtp_code
    [(code, _response)] = error.recipients.values()
    return int(code)


@contextmanager
def _session() -> Iterator[smtplib.SMTP]:
    """Yield a session with the server of SMTP_URL. Raises ServerUnreachable if it cannot be opened.

    The session stays open for the next mail, unless the block raises.
    """
    url = settings.SMTP_URL
    try:
        connection = _connections.take(url) or Connection(url, _connect(urlsplit(url)))
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise ServerUnreachable(repr(error)) from error
    try:
        yield connection.smtp
    except BaseException:
        _quit(connection.smtp)
        raise
    _connections.keep(connection)


@dataclass(eq=False)
class Connection:
    """An open connection to the mail server at ``url``."""

    url: str
    smtp: smtplib.SMTP
    mails: int = 0  # sent over it
    idle_since: float = 0.0  # monotonic


class IdleConnections:
    """Connections that are kept open for the next mail, which then needs no TLS handshake and no login."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._timer: threading.Timer | None = None

    def take(self, url: str) -> Connection | None:
        """Return a connection to ``url`` that the server has not closed; None if there is none."""
        while True:
            with self._lock:
                found = next((each for each in reversed(self._idle) if each.url == url), None)
                if found is None:
                    return None
                self._idle.remove(found)
            if _is_open(found.smtp):
                return found
            found.smtp.close()

    def keep(self, connection: Connection) -> None:
        """Keep a connection over which a mail was sent for IDLE_SECONDS, unless it has sent MAX_MAILS."""
        connection.mails += 1
        if connection.mails >= MAX_MAILS:
            _quit(connection.smtp)
            return
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(connection)
            if self._timer is None:
                self._start_timer(IDLE_SECONDS)

    def _start_timer(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._close_expired)
        self._timer.daemon = True
        self._timer.start()

    def _close_expired(self) -> None:
        expires = time.monotonic() - IDLE_SECONDS
        with self._lock:
            expired = [each for each in self._idle if each.idle_since <= expires]
            self._idle = [each for each in self._idle if each.idle_since > expires]
            self._timer = None
            if self._idle:
                self._start_timer(self._idle[0].idle_since - expires)
        for connection in expired:
            _quit(connection.smtp)


_connections = IdleConnections()


def _is_open(smtp: smtplib.SMTP) -> bool:
    try:
        return smtp.noop()[0] == _OK
    except (OSError, smtplib.SMTPException):
        return False


def _quit(smtp: smtplib.SMTP) -> None:
    with suppress(OSError, smtplib.SMTPException):
        smtp.quit()
    smtp.close()


def _connect(url: SplitResult) -> smtplib.SMTP:
    if url.scheme not in _SCHEMES:
        raise ValueError(f"SMTP_URL must begin with one of {_SCHEMES}")
    host = url.hostname or "127.0.0.1"
    if url.scheme == "smtps":
        port = url.port or _SUBMISSION_TLS_PORT
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_SECONDS, context=tls_context())
    else:
        smtp = smtplib.SMTP(host, url.port or _RELAY_PORT, timeout=_TIMEOUT_SECONDS)
    try:
        smtp.ehlo_or_helo_if_needed()
        if url.scheme == "smtp":
            _start_tls(smtp, required=_needs_tls(url, host))
        if url.username is not None:
            smtp.login(unquote(url.username), unquote(url.password or ""))
    except BaseException:
        smtp.close()
        raise
    return smtp


def _start_tls(smtp: smtplib.SMTP, *, required: bool) -> None:
    if smtp.has_extn("starttls"):
        smtp.starttls(context=tls_context())
        smtp.ehlo()
    elif required:
        raise smtplib.SMTPNotSupportedError(
            "The server does not support STARTTLS; credentials and mails are not sent without TLS."
        )


def _needs_tls(url: SplitResult, host: str) -> bool:
    """Return whether STARTTLS is mandatory: for a login, and in production unless ALLOW_PLAINTEXT_SERVERS is on."""
    is_private = settings.PRODUCTION and not settings.ALLOW_PLAINTEXT_SERVERS
    return (url.username is not None or is_private) and not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_context() -> ssl.SSLContext:
    """Return a context that verifies certificate and host name. SSL_CERT_FILE adds private certificate authorities."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # slim images contain no CA certificates
    return context
