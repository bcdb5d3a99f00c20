"""A delivery as an e-mail, and what an SMTP server's answer to it means."""

import smtplib
from email.utils import format_datetime, parseaddr

import settings
from models.log import get_logger
from models.notifications import Contact, Delivery, Outcome, State, Unsubscription

from . import mime
from .addresses import Mailbox
from .smtp import Mail, Mailer, ServerUnreachable
from .wording import laid_out, name_of, words

log = get_logger(__name__)

_SENDER_NAME, _SENDER_ADDRESS = parseaddr(settings.MAIL_FROM)
if (_sender := Mailbox.parse(_SENDER_ADDRESS)) is None:
    raise SystemExit("MAIL_FROM must hold an address, such as Coursebus <no-reply@example.com>")
_SENDER = _sender

_PERMANENT = 500  # RFC 5321: from here on, repeating is in vain


def compose(delivery: Delivery, contact: Contact, to: Mailbox) -> Mail:
    """Compose the mail of ``delivery``. Composed again it has the same Message-ID, by which mailboxes find repetitions.

    Raises MalformedMail.
    """
    text = words(delivery.template, contact, delivery.data)
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
        # RFC 8058: mailboxes show their own button, which posts. Both headers must stay plain.
        headers |= {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    parts = [(kind, laid_out(layout, text, unsubscribe_url=url)) for kind, layout in _LAYOUTS.items()]
    # "=_" occurs in no quoted-printable text.
    raw = mime.message(headers, parts, boundary=f"=_{delivery.id.hex}", utf8=to.needs_utf8)
    return Mail(_SENDER.address, to.address, raw, to.needs_utf8)


_LAYOUTS = {"plain": "layout.txt", "html": "layout.html"}


def _unsubscribe_url(delivery: Delivery) -> str:
    token = Unsubscription(delivery.user_id, delivery.category).token(issued_at=delivery.created_at)
    return f"{settings.PUBLIC_URL}/v1/unsubscribe/{token}"


def hand_over(mailer: Mailer, mail: Mail) -> Outcome:
    """Give ``mail`` to the SMTP server; return what becomes of its delivery.

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
    except (ServerUnreachable, smtplib.SMTPSenderRefused) as error:
        # The server had not taken responsibility for the message: sending it again makes no second copy.
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
