"""Compose the e-mail of a delivery and translate the SMTP response into an outcome."""

import smtplib
from email.utils import format_datetime, parseaddr

import settings
from core.log import get_logger
from models.notifications import Contact, Delivery, DeliveryOutcome, DeliveryState, UnsubscribeLink

from . import mime
from .addresses import Mailbox
from .rendering import name_of, render, render_layout
from .smtp import Mail, Mailer, ServerUnreachable

log = get_logger(__name__)

_SENDER_NAME, _SENDER_ADDRESS = parseaddr(settings.MAIL_FROM)
if (_sender := Mailbox.parse(_SENDER_ADDRESS)) is None:
    raise SystemExit("MAIL_FROM must contain an address, such as Coursebus <no-reply@example.com>")
_SENDER = _sender

_PERMANENT = 500  # RFC 5321, 4.2.1: 5yz is a permanent failure and is not retried


def build_message(delivery: Delivery, contact: Contact, to: Mailbox) -> Mail:
    """Compose the mail of ``delivery``. A retry has the same Message-ID, so that mail clients can detect the duplicate.

    Raises MalformedMail.
    """
    text = render(delivery.template, contact, delivery.data)
    headers = {
        "Message-ID": f"<{delivery.id}@{_SENDER.domain}>",
        "Date": format_datetime(delivery.created_at),
        "From": mime.mailbox("From", _SENDER_NAME, _SENDER.address),
        "To": mime.mailbox("To", name_of(contact), to.address),
        "Subject": mime.unstructured("Subject", text.title),
        "Auto-Submitted": "auto-generated",  # so that no vacation reply is sent
    }
    url = None if delivery.mandatory else _unsubscribe_url(delivery)
    if url:
        # RFC 8058: mail clients show an unsubscribe button that sends a POST. Both headers must not be encoded.
        headers |= {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    parts = [(kind, render_layout(layout, text, unsubscribe_url=url)) for kind, layout in _LAYOUTS.items()]
    # "=_" cannot occur in quoted-printable text, so the boundary cannot either.
    raw = mime.message(headers, parts, boundary=f"=_{delivery.id.hex}", utf8=to.needs_utf8)
    return Mail(_SENDER.address, to.address, raw, to.needs_utf8)


_LAYOUTS = {"plain": "layout.txt", "html": "layout.html"}


def _unsubscribe_url(delivery: Delivery) -> str:
    token = UnsubscribeLink(delivery.user_id, delivery.category).token(issued_at=delivery.created_at)
    return f"{settings.PUBLIC_URL}/v1/unsubscribe/{token}"


def send_email(mailer: Mailer, mail: Mail) -> DeliveryOutcome:
    """Send ``mail`` to the SMTP server and return the outcome.

    SENT: accepted. FAILED: rejected permanently. QUEUED: not accepted, to be retried. SENDING: unknown, as the
    connection failed before the response.
    """
    try:
        mailer(mail)
    except smtplib.SMTPRecipientsRefused as error:
        [(code, response)] = error.recipients.values()
        return _rejection_outcome(code, response)
    except smtplib.SMTPDataError as error:
        return _rejection_outcome(error.smtp_code, error.smtp_error)
    except smtplib.SMTPNotSupportedError:
        return DeliveryOutcome(DeliveryState.FAILED, "address_not_supported")
    except (ServerUnreachable, smtplib.SMTPSenderRefused) as error:
        # The server has not accepted the message: a retry causes no duplicate.
        log.warning("mail not accepted by the server", reason=repr(error))
        return DeliveryOutcome(DeliveryState.QUEUED, "not_accepted")
    except (OSError, smtplib.SMTPException) as error:
        log.warning("mail outcome unknown: response lost", reason=repr(error))
        return DeliveryOutcome(DeliveryState.SENDING, "response_lost")
    return DeliveryOutcome(DeliveryState.SENT)


def _rejection_outcome(code: int, response: bytes | str) -> DeliveryOutcome:
    # The response may contain the address: write it to the log, which masks addresses, but not into the history.
    message = response.decode(errors="replace") if isinstance(response, bytes) else response
    log.warning("mail rejected", code=code, reason=message)
    return DeliveryOutcome(DeliveryState.FAILED if code >= _PERMANENT else DeliveryState.QUEUED, f"smtp_{code}")
