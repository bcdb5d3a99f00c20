"""A delivery as an e-mail, and what an SMTP server's answer to it means."""

import smtplib
import socket
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr

import settings
from models.log import get_logger
from models.notifications import Contact, Delivery, Outcome, State, Unsubscription

from .smtp import Mailer
from .wording import laid_out, words

log = get_logger(__name__)

# Not every server on the way takes eight bits.
_POLICY = SMTP.clone(cte_type="7bit")
_SENDER_DOMAIN = parseaddr(settings.MAIL_FROM)[1].rpartition("@")[2]
_PERMANENT = 500  # RFC 5321: from here on, repeating is in vain

# Said before the server took responsibility for the message: sending it again makes no second one.
_NOT_TAKEN = (
    ConnectionRefusedError,
    socket.gaierror,
    smtplib.SMTPConnectError,
    smtplib.SMTPHeloError,
    smtplib.SMTPAuthenticationError,
    smtplib.SMTPSenderRefused,
)


def address_of(contact: Contact) -> Address | None:
    """Where to write to; None where the contact's address is none."""
    # As in every line that we say: nothing from outside starts a new one.
    name = " ".join((contact.name or "").split())
    try:
        return Address(display_name=name, addr_spec=contact.email)
    except (ValueError, IndexError, HeaderParseError):
        return None


def compose(delivery: Delivery, contact: Contact, address: Address) -> EmailMessage:
    """The mail of ``delivery``. Composed again it has the same Message-ID, by which a mailbox knows it again."""
    text = words(delivery.template, contact, delivery.data)
    mail = EmailMessage(policy=_POLICY)
    mail["Message-ID"] = f"<{delivery.id}@{_SENDER_DOMAIN}>"
    mail["Date"] = delivery.created_at
    mail["From"] = settings.MAIL_FROM
    mail["To"] = address
    mail["Subject"] = text.title
    mail["Auto-Submitted"] = "auto-generated"  # holiday replies stay at home
    url = None if delivery.mandatory else _unsubscribe_url(delivery)
    if url:
        # RFC 8058: the mailbox shows a button of its own, which posts.
        mail["List-Unsubscribe"] = f"<{url}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(laid_out("layout.txt", text, unsubscribe_url=url))
    mail.add_alternative(laid_out("layout.html", text, unsubscribe_url=url), subtype="html")
    return mail


def _unsubscribe_url(delivery: Delivery) -> str:
    return f"{settings.PUBLIC_URL}/v1/unsubscribe/{Unsubscription(delivery.user_id, delivery.category).token}"


def hand_over(mailer: Mailer, mail: EmailMessage) -> Outcome:
    """Give ``mail`` to the SMTP server; what becomes of its delivery.

    SENT, FAILED for good, QUEUED where the server surely has not taken it, SENDING where it may have.
    """
    try:
        mailer(mail)
    except smtplib.SMTPRecipientsRefused as error:
        [(code, answer)] = error.recipients.values()
        return _refused(code, answer)
    except smtplib.SMTPDataError as error:
        return _refused(error.smtp_code, error.smtp_error)
    except smtplib.SMTPNotSupportedError:
        return Outcome(State.FAILED, "address_not_supported")
    except _NOT_TAKEN as error:
        log.warning("mail server did not take a mail", reason=repr(error))
        return Outcome(State.QUEUED, "not_taken")
    except (OSError, smtplib.SMTPException) as error:
        log.warning("mail server's answer was lost", reason=repr(error))
        return Outcome(State.SENDING, "answer_lost")
    return Outcome(State.SENT)


def _refused(code: int, answer: bytes | str) -> Outcome:
    # The answer may quote the address, so it goes to the log, which masks it, and not into the history.
    said = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    log.warning("mail refused", code=code, reason=said)
    return Outcome(State.FAILED if code >= _PERMANENT else State.QUEUED, f"smtp_{code}")
