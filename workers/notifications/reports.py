"""Webhooks of the mail provider: accepted mails that were delivered, bounced or marked as spam.

Webhooks are signed by Standard Webhooks; duplicates are recognised by ``webhook-id``. The body is
{"type": "email.delivered" / "email.bounced" / "email.complained", "timestamp",
"data": {"email", "message_id": Message-ID of the mail or null, "permanent": whether a bounce is permanent}}. Webhooks
of providers with another format must be translated into this format before they reach this API.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

import settings
from models.base import now
from models.errors import HookUnreadable
from models.log import get_logger
from models.notifications import MailReport, Outcome, State, Suppression
from models.webhooks import verify_standard
from workers import task

from .history import History

log = get_logger(__name__)


class _Mail(msgspec.Struct):
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=320)]
    message_id: str | None = None
    permanent: bool = True


class _Report(msgspec.Struct):
    type: str
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    data: _Mail


_STATES = {
    "email.delivered": State.DELIVERED,
    "email.bounced": State.BOUNCED,
    "email.complained": State.COMPLAINED,
}


@task
def receive_mail_report(session: Session, history: History, *, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """Apply a delivery report; duplicates have no effect. Raises SignatureInvalid, HookUnreadable.

    After a permanent bounce or a complaint the address is suppressed: no mail is sent to it, receipts included.
    """
    report_id = verify_standard(body, headers, settings.EMAIL_WEBHOOK_SECRETS, at=now())
    report = _read(body)
    if MailReport(id=report_id, kind=report.type, received_at=now()).first(session) and report.type in _STATES:
        _take(session, history, report, _STATES[report.type])
    return {"received": True}


def _take(session: Session, history: History, report: _Report, state: State) -> None:
    lasting = state is State.COMPLAINED or (state is State.BOUNCED and report.data.permanent)
    if lasting:
        Suppression.keep(session, report.data.email, reason=state.value, since=report.timestamp)
    if delivery_id := _delivery_of(report.data.message_id):
        reason = None if state is State.DELIVERED else "permanent" if lasting else "transient"
        history.report(delivery_id, Outcome(state, reason), at=report.timestamp)
    log.info("mail reported", state=state.value, delivery_id=delivery_id, suppressed=lasting)


def _read(body: bytes) -> _Report:
    try:
        return msgspec.json.decode(body, type=_Report)
    except msgspec.DecodeError as error:
        raise HookUnreadable(str(error)) from error


def _delivery_of(message_id: str | None) -> UUID | None:
    """Return the delivery id of a Message-ID; None if this system did not generate the Message-ID."""
    try:
        return UUID((message_id or "").strip("<> ").partition("@")[0])
    except ValueError:
        return None
