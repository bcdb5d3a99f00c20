"""Send deliveries by e-mail: compose the message, send it by SMTP and translate the response into an outcome."""

import smtplib
from email.utils import format_datetime, parseaddr
from uuid import UUID

import settings
from core.db import utc_now
from core.log import get_logger
from models.notifications import Contact, Delivery, DeliveryOutcome, DeliveryState, Suppression, UnsubscribeLink
from models.notifications.notification_store import NotificationStore
from models.notifications.preference_store import PreferenceStore
from models.notifications.recipients import Recipient
from workers import task
from workers.notifications.delivery import apply_outcome, claim, close
from workers.notifications.delivery_policy import delivery_blocker
from workers.notifications.reminders import is_still_applicable
from workers.notifications.rendering import name_of, render, render_layout
from workers.runtime.execution import Transactions

from . import mime
from .addresses import Mailbox
from .mime import MalformedMail
from .smtp import Mail, Mailer, ServerUnreachable

log = get_logger(__name__)

_SENDER_NAME, _SENDER_ADDRESS = parseaddr(settings.MAIL_FROM)
if (_sender := Mailbox.parse(_SENDER_ADDRESS)) is None:
    raise SystemExit("MAIL_FROM must contain an address, such as Coursebus <no-reply@example.com>")
_SENDER = _sender

MAX_ATTEMPTS = 80  # with the waits of delivery.backoff, about three days
WELCOME = "welcome"  # the only mail sent to unverified addresses: it contains no text written by a user

_PERMANENT = 500  # RFC 5321, 4.2.1: 5yz is a permanent failure and is not retried


@task
def deliver_email(
    transactions: Transactions,
    notification_store: NotificationStore,
    preference_store: PreferenceStore,
    mailer: Mailer,
    *,
    delivery_id: UUID,
) -> None:
    """Send a due e-mail unless it is suppressed, not allowed or not deliverable. A concurrent duplicate does nothing.

    If the worker dies after the server accepted the mail and before the outcome is stored, the mail is sent again
    after LEASE with the same Message-ID.
    """
    if (delivery := claim(notification_store, delivery_id)) is None:
        return
    with transactions.begin() as session:
        result, contact = Recipient.read(session, delivery)
        if result:
            close(notification_store, delivery, result)
            return
        still_applies = contact is None or is_still_applicable(session, delivery, contact)
        suppressed = Suppression.find_reason(session, contact.email) if contact and contact.email else None
    if contact is None or not contact.email:
        outcome = DeliveryOutcome(DeliveryState.SKIPPED, "no_address")
    elif (to := Mailbox.parse(contact.email)) is None:
        outcome = DeliveryOutcome(DeliveryState.FAILED, "address_invalid")
    elif not (contact.email_verified or delivery.template == WELCOME):
        outcome = DeliveryOutcome(DeliveryState.SKIPPED, "email_unverified")
    elif suppressed:
        outcome = DeliveryOutcome(DeliveryState.SUPPRESSED, suppressed)
    elif blocker := delivery_blocker(
        delivery,
        contact,
        preference_store,
        still_applies=still_applies,
        at=utc_now(),
        sent_since=notification_store.sent_since,
    ):
        outcome = blocker
    elif delivery.attempts > MAX_ATTEMPTS:
        outcome = DeliveryOutcome(DeliveryState.FAILED, "attempts_exhausted")
    else:
        outcome = _build_and_send(mailer, delivery, contact, to)
    apply_outcome(transactions, notification_store, delivery, outcome)


def _build_and_send(mailer: Mailer, delivery: Delivery, contact: Contact, to: Mailbox) -> DeliveryOutcome:
    try:
        mail = build_message(delivery, contact, to)
    except MalformedMail:
        log.exception("malformed mail not sent", delivery_id=delivery.id)
        return DeliveryOutcome(DeliveryState.FAILED, "malformed")
    return send_email(mailer, mail)


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
