"""SMTP client: TLS with verified certificates.

No login, and in production no mail, is sent to another machine without TLS, except by smtp+insecure.
"""

import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

import certifi

import settings
from core.metrics import observe_external_call
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
_SUBMISSION_TLS_PORT, _RELAY_PORT = 465, 25


class ServerUnreachable(smtplib.SMTPException):
    """Connection, TLS or login failed before a message was sent."""


@dependency
def mailer(_execution: TaskExecution) -> Iterator[Mailer]:
    """Provide ``mailer(mail)``, which sends a mail to the SMTP server. It raises OSError or SMTPException."""
    yield _send_mail


def _send_mail(mail: Mail) -> None:
    with observe_external_call("smtp", "send"), _session() as smtp:
        options = ["SMTPUTF8", "BODY=8BITMIME"] if mail.needs_utf8 else []
        smtp.sendmail(mail.sender, [mail.recipient], mail.raw, options)


@contextmanager
def _session() -> Iterator[smtplib.SMTP]:
    """Yield a session with the server of SMTP_URL. Raises ServerUnreachable if it cannot be opened."""
    try:
        smtp = _connect(urlsplit(settings.SMTP_URL))
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise ServerUnreachable(repr(error)) from error
    with smtp:
        yield smtp


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
