"""The way to the SMTP server."""

import smtplib
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from urllib.parse import urlsplit

import settings
from models.metrics import calling
from workers._delivery import Delivery
from workers.resources import resource

Mailer = Callable[[EmailMessage], None]


@resource
def mailer(_delivery: Delivery) -> Iterator[Mailer]:
    """``mailer(message)`` hands a message to the SMTP server. Raises OSError or SMTPException where it does not."""
    yield _send_mail


def _send_mail(message: EmailMessage) -> None:
    url = urlsplit(settings.SMTP_URL)
    connect = smtplib.SMTP_SSL if url.scheme == "smtps" else smtplib.SMTP
    with calling("smtp", "send"), connect(url.hostname or "127.0.0.1", url.port or 25, timeout=10) as smtp:
        if url.username:
            smtp.login(url.username, url.password or "")
        smtp.send_message(message)
