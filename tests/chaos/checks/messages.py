"""Messages: one in-app notification, and one mail if the rules require it, per event and recipient."""

from collections import Counter
from collections.abc import Collection, Iterator
from uuid import UUID, uuid5

import settings
from tests.chaos.checker import ClientRecord, Row, SystemSnapshot, check

# The category of each mailed event, repeated here because the checker must not depend on the rules that it checks.
MAILED = {
    "USER_CREATED": "account",
    **dict.fromkeys(("ENROLLMENT_CREATED", "SUBSCRIPTION_STARTED"), "courses"),
    **dict.fromkeys(("PAYMENT_SUCCEEDED", "PAYMENT_FAILED", "PAYMENT_REFUNDED", "REFUND_REVERSED"), "receipts"),
    **dict.fromkeys(("DISPUTE_OPENED", "DISPUTE_CLOSED"), "receipts"),
    **dict.fromkeys(("SUBSCRIPTION_PAST_DUE", "SUBSCRIPTION_TRIAL_ENDING"), "receipts"),
    **dict.fromkeys(("SUBSCRIPTION_CANCELED", "SUBSCRIPTION_EXPIRED", "SUBSCRIPTION_RESTORED"), "receipts"),
    "CERTIFICATE_ISSUED": "progress",
}
NOTIFIED = {*MAILED, "LESSON_COMPLETED", "COURSE_COMPLETED"}
UNLIMITED = "receipts"  # mandatory: not subject to the daily limit


@check
def one_mail_for_each_event_and_recipient(
    snapshot: SystemSnapshot, _records: Collection[ClientRecord]
) -> Iterator[str]:
    capped = set(_capped(snapshot))
    wanted = {_mail_of(event["id"], event["payload"]["user_id"]): event for event in _notified(snapshot, MAILED)}
    due = {mail: event for mail, event in wanted.items() if mail not in capped}
    # A reminder is optional: it is sent only while its reason still holds.
    reminders = {_mail_of(row["id"], row["user_id"]) for row in snapshot.table("notifications.reminders")}
    sent = {mail["headers"]["Message-ID"].strip("<>").partition("@")[0] for mail in snapshot.mails}
    yield from (f"there is no mail about {due[each]['type']} {due[each]['id']}" for each in sorted(due.keys() - sent))
    yield from (f"mail {each} has no event" for each in sorted(sent - due.keys() - reminders))
    ended = Counter(
        event["payload"]["notification_id"] for event in snapshot.outbox if event["type"] == "NOTIFICATION_SENT"
    )
    yield from (f"mail {each} has {ended[each]} NOTIFICATION_SENT events" for each in due if ended[each] != 1)
    for row in snapshot.deliveries:
        if row["channel"] == "email" and row["state"] not in {"sent", "skipped"}:
            yield f"delivery {row['_id']} is {row['state']}"


@check
def one_notification_for_each_event_and_recipient(
    snapshot: SystemSnapshot, _records: Collection[ClientRecord]
) -> Iterator[str]:
    due = Counter((event["id"], event["payload"]["user_id"]) for event in _notified(snapshot, NOTIFIED))
    reminders = {(row["id"], row["user_id"]) for row in snapshot.table("notifications.reminders")}
    shown = Counter((row["event_id"], row["user_id"]) for row in snapshot.deliveries if row["channel"] == "in_app")
    for each in due | shown:
        if shown[each] != due[each] and not (each in reminders and shown[each] == 1):
            yield f"{each} has {shown[each]} in-app notifications"


def _notified(snapshot: SystemSnapshot, types: Collection[str]) -> Iterator[Row]:
    for event in snapshot.outbox:
        # A subscription gives access to many courses at once; only its start is notified.
        if event["type"] in types and event["payload"].get("source") != "subscription":
            yield event


def _capped(snapshot: SystemSnapshot) -> Iterator[str]:
    """Yield the mails that were correctly skipped, because the user had reached the daily limit of their category."""
    mails = [row for row in snapshot.deliveries if row["channel"] == "email"]
    sent = Counter((row["user_id"], row["category"]) for row in mails if row["state"] == "sent")
    for row in mails:
        allowed = sent[row["user_id"], row["category"]] < settings.NOTIFICATIONS_PER_DAY
        if row["reason"] == "daily_limit" and row["category"] != UNLIMITED and not allowed:
            yield row["_id"]


def _mail_of(event_id: str, user_id: str) -> str:
    return str(uuid5(UUID(event_id), f"{user_id}/email"))
