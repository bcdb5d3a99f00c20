"""Messages: one mail and one note for each event and recipient."""

from collections import Counter
from collections.abc import Collection, Iterator
from uuid import UUID, uuid5

from tests.chaos.checker import Reading, Row, Told, check

# Which events are told by e-mail; said here once more, so that the checker does not believe the code that it checks.
MAILED = (
    *("USER_CREATED", "ENROLLMENT_CREATED", "PAYMENT_SUCCEEDED"),
    *("PAYMENT_FAILED", "PAYMENT_REFUNDED", "REFUND_RETURNED", "LESSON_COMPLETED", "COURSE_COMPLETED"),
    *("CERTIFICATE_ISSUED", "SUBSCRIPTION_RESTORED", "PAYMENT_DISPUTED", "DISPUTE_CLOSED"),
)


@check
def one_mail_for_each_event_and_recipient(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    due = {_mail_of(event["id"], event["payload"]["user_id"]): event for event in _mailed(reading)}
    # Time alone sends these, where what they remind of still lasts.
    reminders = {_mail_of(row["id"], row["user_id"]) for row in reading.table("notifications.reminders")}
    sent = {mail["headers"]["Message-ID"].strip("<>").partition("@")[0] for mail in reading.mails}
    yield from (f"no mail tells of {due[each]['type']} {due[each]['id']}" for each in sorted(due.keys() - sent))
    yield from (f"nothing happened that mail {each} tells of" for each in sorted(sent - due.keys() - reminders))
    ended = Counter(
        event["payload"]["notification_id"] for event in reading.outbox if event["type"] == "NOTIFICATION_SENT"
    )
    yield from (f"mail {each} is told {ended[each]} times as sent" for each in due if ended[each] != 1)
    for row in reading.deliveries:
        if row["channel"] == "email" and row["state"] not in {"sent", "skipped"}:
            yield f"delivery {row['_id']} is {row['state']}"


def _mailed(reading: Reading) -> Iterator[Row]:
    yield from (event for event in reading.outbox if event["type"] in MAILED)


def _mail_of(told_id: str, user_id: str) -> str:
    return str(uuid5(UUID(told_id), f"{user_id}/email"))


@check
def one_note_for_each_event_and_recipient(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    due = Counter((event["id"], event["payload"]["user_id"]) for event in _mailed(reading))
    reminders = {(row["id"], row["user_id"]) for row in reading.table("notifications.reminders")}
    shown = Counter((row["event_id"], row["user_id"]) for row in reading.deliveries if row["channel"] == "in_app")
    for each in due | shown:
        if shown[each] != due[each] and not (each in reminders and shown[each] == 1):
            yield f"{shown[each]} notes tell of {each}"
