"""The checker alone: a reading in which all is well, and what it says of each way in which it may not be."""

from collections.abc import Callable
from copy import deepcopy
from uuid import UUID, uuid4, uuid5

import pytest

import settings

from .checker import Reading, Told, findings, repeats
from .checks.messages import MAILED

USER, COURSE, ORDER, ENROLLMENT = (str(uuid4()) for _ in range(4))
PII = {"email": "a@example.com", "name": "A", "locale": "en", "timezone": "UTC"}
TOLD = [
    Told(what="registered", user_id=USER),
    Told(what="paid", user_id=USER, course_id=COURSE, order_id=ORDER),
]
HANDLERS = {"COURSE_PURCHASED": ["courses.grant_access"]}


def all_is_well() -> Reading:
    """Somebody has registered and bought a course, and everything agrees."""
    reading = Reading(handlers=HANDLERS)
    tell(reading, "users", USER, "USER_CREATED", pii=PII)
    tell(reading, "users", USER, "USER_UPDATED", pii=PII, version=2)
    tell(reading, "payments", ORDER, "ORDER_CREATED", order_id=ORDER)
    tell(reading, "payments", ORDER, "PAYMENT_SUCCEEDED", order_id=ORDER)
    tell(reading, "payments", ORDER, "COURSE_PURCHASED", order_id=ORDER)
    grant = {"course_id": COURSE, "source": "order", "source_id": ORDER}
    tell(reading, "courses", ENROLLMENT, "ENROLLMENT_CREATED", enrollment_id=ENROLLMENT, **grant)
    learner = {"user_id": USER, "course_id": COURSE}
    tell(reading, "progress", f"{USER}:{COURSE}", "COURSE_STARTED", **learner, lessons_total=3)
    order = {"id": ORDER, **learner, "version": 3, "status": "paid", "amount_minor": 100, "currency": "USD"}
    reading.tables.update(
        {
            "users.users": [{"id": USER, "version": 2, **PII}],
            "notifications.contacts": [{"user_id": USER, "version": 2, **PII}],
            "notifications.recipients": [{"user_id": USER, "version": 3}],
            "payments.orders": [order],
            "payments.attempts": [{"order_id": ORDER, "captured_minor": 100}],
            "payments.ledger_entries": [
                {"transaction_id": "1", "account": "provider.stripe.main", "currency": "USD", "amount_minor": 100},
                {"transaction_id": "1", "account": "sales", "currency": "USD", "amount_minor": -100},
            ],
            "courses.enrollments": [{"id": ENROLLMENT, **learner, "version": 1, "lessons_completed": 0}],
            "courses.grants": [{**learner, **grant}],
            "progress.course_progress": [{**learner, "version": 1, "lessons_completed": 0, "lessons_total": 3}],
        }
    )
    reading.charges.append({"order_id": ORDER, "amount_minor": 100, "currency": "USD"})
    for event in [each for each in reading.outbox if each["type"].endswith(("CREATED", "SUCCEEDED"))]:
        if event["type"] != "ORDER_CREATED":
            send(reading, event)
    [purchased] = [event["id"] for event in reading.outbox if event["type"] == "COURSE_PURCHASED"]
    reading.inbox.add(("courses.grant_access", purchased))
    return reading


def tell(reading: Reading, topic: str, key: str, type_: str, **payload: object) -> None:
    version = 1 + sum(row["aggregateid"] == key and row["aggregatetype"] == topic for row in reading.outbox)
    event = {"id": str(uuid4()), "type": type_, "payload": {"user_id": USER, **payload}}
    row = {"aggregatetype": topic, "aggregateid": key, "aggregate_version": version, "published_at": "now"}
    reading.outbox.append({**event, **row})
    reading.topics.append({**event, "topic": topic, "key": key, "sequence": version, "partition": 0})


def send(reading: Reading, event: dict) -> None:
    delivery = str(uuid5(UUID(event["id"]), f"{USER}/email"))
    reading.mails.append({"headers": {"Message-ID": f"<{delivery}@coursebus.dev>"}, "to": [PII["email"]]})
    told = {"event_id": event["id"], "user_id": USER, "category": MAILED[event["type"]]}
    reading.deliveries.append({"_id": delivery, "channel": "email", "state": "sent", "reason": None, **told})
    reading.deliveries.append({"_id": str(uuid4()), "channel": "in_app", **told})
    tell(reading, "notifications", USER, "NOTIFICATION_SENT", notification_id=delivery)


def found(reading: Reading, told: list[Told] = TOLD) -> set[str]:
    return {finding.check for finding in findings(reading, told)}


def test_where_all_is_well_nothing_is_found() -> None:
    assert findings(all_is_well(), TOLD) == []
    assert findings(all_is_well().about([USER]), TOLD) == []
    assert repeats(all_is_well()) == []


WRONGS: dict[str, tuple[Callable[[Reading], object], str]] = {
    "an acknowledged purchase is gone": (
        lambda reading: reading.outbox.remove(event(reading, "PAYMENT_SUCCEEDED")),
        "what was acknowledged took effect once",
    ),
    "a course was granted twice": (
        lambda reading: tell(
            reading, "courses", ENROLLMENT, "ENROLLMENT_CREATED", **event(reading, "ENROLLMENT_CREATED")["payload"]
        ),
        "nothing happened twice",
    ),
    "an event is not on its topic": (lambda reading: reading.topics.pop(), "every event is on its topic"),
    "two events changed places": (
        lambda reading: reading.topics.insert(0, reading.topics.pop(1)),
        "versions are contiguous and in order",
    ),
    "a change was lost under another": (
        lambda reading: reading.tables["users.users"][0].update(version=1),
        "aggregates count their events",
    ),
    "an event was not handled": (lambda reading: reading.inbox.clear(), "every event was handled"),
    "a projection is behind": (
        lambda reading: reading.tables["notifications.contacts"][0].update(name="B"),
        "projections are the fold of events",
    ),
    "a buyer was charged twice": (
        lambda reading: reading.charges.append(dict(reading.charges[0])),
        "money was taken once and is accounted for",
    ),
    "money went back that nobody asked for": (
        lambda reading: reading.charges[0].update(refunded_minor=100),
        "what went back is what was promised",
    ),
    "access ended without a refund": (
        lambda reading: reading.tables["courses.grants"][0].update(status="revoked"),
        "what went back is what was promised",
    ),
    "the ledger is off": (
        lambda reading: reading.tables["payments.ledger_entries"][0].update(amount_minor=99),
        "the ledger sums to zero",
    ),
    "a mail is missing": (lambda reading: reading.mails.pop(), "one mail for each event and recipient"),
    "a mail was skipped below the limit of a day": (
        lambda reading: skip_mail(reading, event(reading, "ENROLLMENT_CREATED")),
        "one mail for each event and recipient",
    ),
    "a receipt was skipped": (
        lambda reading: skip_mail(reading, event(reading, "PAYMENT_SUCCEEDED")),
        "one mail for each event and recipient",
    ),
    "a completed lesson has no note": (
        lambda reading: complete(reading) and reading.deliveries.pop(),
        "one note for each event and recipient",
    ),
    "a mail tells of nothing": (
        lambda reading: reading.mails.append({"headers": {"Message-ID": "<x@y>"}, "to": []}),
        "one mail for each event and recipient",
    ),
    "a note is there twice": (
        lambda reading: reading.deliveries.append(dict(reading.deliveries[-1])),
        "one note for each event and recipient",
    ),
    "a message is still in somebody's hands": (
        lambda reading: reading.lists.update({"unacked:progress": 1}),
        "nothing waits",
    ),
}


def event(reading: Reading, type_: str) -> dict:
    return next(row for row in reading.outbox if row["type"] == type_)


def skip_mail(reading: Reading, skipped: dict) -> None:
    """Have the mail of this event skipped, as above the limit of a day."""
    delivery = next(row for row in reading.deliveries if row["event_id"] == skipped["id"] and row["channel"] == "email")
    delivery.update(state="skipped", reason="capped")
    reading.mails[:] = [mail for mail in reading.mails if delivery["_id"] not in mail["headers"]["Message-ID"]]
    for ended in [row for row in reading.outbox if row["payload"].get("notification_id") == delivery["_id"]]:
        reading.outbox.remove(ended)
        reading.topics[:] = [row for row in reading.topics if row["id"] != ended["id"]]


def complete(reading: Reading) -> bool:
    """Complete a lesson: a note in the feed, and no mail."""
    lesson = {"course_id": COURSE, "lesson_id": str(uuid4())}
    tell(reading, "progress", f"{USER}:{COURSE}", "LESSON_COMPLETED", **lesson)
    [progress], [enrollment] = reading.tables["progress.course_progress"], reading.tables["courses.enrollments"]
    progress.update(version=2, lessons_completed=1)
    enrollment.update(lessons_completed=1)
    reading.tables["progress.completed_lessons"] = [{"user_id": USER, **lesson}]
    note = {"event_id": event(reading, "LESSON_COMPLETED")["id"], "user_id": USER, "category": "progress"}
    reading.deliveries.append({"_id": str(uuid4()), "channel": "in_app", **note})
    return True


@pytest.mark.parametrize("wrong", WRONGS, ids=str)
def test_what_is_wrong_is_found(wrong: str) -> None:
    reading = deepcopy(all_is_well())
    do, check = WRONGS[wrong]
    do(reading)
    assert check in found(reading)


def test_a_refused_payment_that_was_taken_is_found() -> None:
    told = [Told(what="refused payment", user_id=USER, course_id=COURSE, order_id=ORDER)]
    assert "what was refused had no effect" in found(all_is_well(), told)


def test_a_repeated_event_is_allowed_after_a_crash_and_found_without_one() -> None:
    reading = all_is_well()
    reading.topics.append(reading.topics[0])
    assert findings(reading, TOLD) == []
    assert {finding.check for finding in repeats(reading)} == {"nothing was sent twice"}


def test_a_completed_lesson_is_noted_and_not_mailed() -> None:
    reading = all_is_well()
    complete(reading)
    assert findings(reading, TOLD) == []


def test_a_mail_above_the_limit_of_a_day_may_be_skipped() -> None:
    reading = all_is_well()
    skip_mail(reading, event(reading, "ENROLLMENT_CREATED"))
    before = {"user_id": USER, "channel": "email", "category": "courses", "state": "sent", "reason": None}
    reading.deliveries.extend({"_id": str(uuid4()), **before} for _ in range(settings.NOTIFICATIONS_PER_DAY))
    reading.tables["notifications.recipients"][0].update(version=2)  # no NOTIFICATION_SENT for the skipped mail
    assert findings(reading, TOLD) == []


def test_what_time_alone_tells_of_is_told_once_or_not_at_all() -> None:
    reading, reminder = all_is_well(), str(uuid4())
    reading.tables["notifications.reminders"] = [{"id": reminder, "user_id": USER}]
    assert findings(reading, TOLD) == []
    mail = uuid5(UUID(reminder), f"{USER}/email")
    reading.mails.append({"headers": {"Message-ID": f"<{mail}@coursebus.dev>"}, "to": [PII["email"]]})
    note = {"_id": str(uuid4()), "channel": "in_app", "event_id": reminder, "user_id": USER}
    reading.deliveries.append(note)
    assert findings(reading, TOLD) == []
    reading.deliveries.append(note)
    assert found(reading) == {"one note for each event and recipient"}
