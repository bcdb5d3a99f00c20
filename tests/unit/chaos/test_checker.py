"""The checker without a platform: a consistent snapshot has no findings, and each corruption is found."""

from collections.abc import Callable
from copy import deepcopy
from uuid import UUID, uuid4, uuid5

import pytest

import settings
from tests.chaos.checker import ClientRecord, SystemSnapshot, duplicates, findings
from tests.chaos.checks.messages import MAILED

USER, COURSE, ORDER, ENROLLMENT = (str(uuid4()) for _ in range(4))
PII = {"email": "a@example.com", "name": "A", "locale": "en", "timezone": "UTC"}
RECORDS = [
    ClientRecord(what="registered", user_id=USER),
    ClientRecord(what="paid", user_id=USER, course_id=COURSE, order_id=ORDER),
]
HANDLERS = {"COURSE_PURCHASED": ["courses.grant_access"]}


def consistent_snapshot() -> SystemSnapshot:
    """Return a consistent snapshot in which one user has registered and bought a course."""
    snapshot = SystemSnapshot(handlers=HANDLERS)
    append_event(snapshot, "users", USER, "USER_CREATED", pii=PII)
    append_event(snapshot, "users", USER, "USER_UPDATED", pii=PII, version=2)
    append_event(snapshot, "payments", ORDER, "ORDER_CREATED", order_id=ORDER)
    append_event(snapshot, "payments", ORDER, "PAYMENT_SUCCEEDED", order_id=ORDER)
    append_event(snapshot, "payments", ORDER, "COURSE_PURCHASED", order_id=ORDER)
    grant = {"course_id": COURSE, "source": "order", "source_id": ORDER}
    append_event(snapshot, "courses", ENROLLMENT, "ENROLLMENT_CREATED", enrollment_id=ENROLLMENT, **grant)
    learner = {"user_id": USER, "course_id": COURSE}
    append_event(snapshot, "progress", f"{USER}:{COURSE}", "COURSE_STARTED", **learner, lessons_total=3)
    order = {"id": ORDER, **learner, "version": 3, "status": "paid", "amount_minor": 100, "currency": "USD"}
    snapshot.tables.update(
        {
            "users.users": [{"id": USER, "version": 2, **PII}],
            "notifications.contacts": [{"user_id": USER, "version": 2, **PII}],
            "notifications.notification_sequences": [{"user_id": USER, "version": 3}],
            "payments.orders": [order],
            "payments.payment_attempts": [{"order_id": ORDER, "captured_minor": 100}],
            "payments.ledger_entries": [
                {"transaction_id": "1", "account": "provider.stripe.main", "currency": "USD", "amount_minor": 100},
                {"transaction_id": "1", "account": "sales", "currency": "USD", "amount_minor": -100},
            ],
            "courses.enrollments": [{"id": ENROLLMENT, **learner, "version": 1, "lessons_completed": 0}],
            "courses.grants": [{**learner, **grant}],
            "progress.course_progress": [{**learner, "version": 1, "lessons_completed": 0, "lessons_total": 3}],
        }
    )
    snapshot.charges.append({"order_id": ORDER, "amount_minor": 100, "currency": "USD"})
    for event in [each for each in snapshot.outbox if each["type"].endswith(("CREATED", "SUCCEEDED"))]:
        if event["type"] != "ORDER_CREATED":
            append_notification(snapshot, event)
    [purchased] = [event["id"] for event in snapshot.outbox if event["type"] == "COURSE_PURCHASED"]
    snapshot.inbox.add(("courses.grant_access", purchased))
    return snapshot


def append_event(snapshot: SystemSnapshot, topic: str, key: str, type_: str, **payload: object) -> None:
    version = 1 + sum(row["aggregateid"] == key and row["aggregatetype"] == topic for row in snapshot.outbox)
    event = {"id": str(uuid4()), "type": type_, "payload": {"user_id": USER, **payload}}
    row = {"aggregatetype": topic, "aggregateid": key, "aggregate_version": version, "published_at": "now"}
    snapshot.outbox.append({**event, **row})
    snapshot.topics.append({**event, "topic": topic, "key": key, "sequence": version, "partition": 0})


def append_notification(snapshot: SystemSnapshot, event: dict) -> None:
    delivery = str(uuid5(UUID(event["id"]), f"{USER}/email"))
    snapshot.mails.append({"headers": {"Message-ID": f"<{delivery}@coursebus.dev>"}, "to": [PII["email"]]})
    fields = {"event_id": event["id"], "user_id": USER, "category": MAILED[event["type"]]}
    snapshot.deliveries.append({"_id": delivery, "channel": "email", "state": "sent", "reason": None, **fields})
    snapshot.deliveries.append({"_id": str(uuid4()), "channel": "in_app", **fields})
    append_event(snapshot, "notifications", USER, "NOTIFICATION_SENT", notification_id=delivery)


def failed_checks(snapshot: SystemSnapshot, records: list[ClientRecord] = RECORDS) -> set[str]:
    return {finding.check for finding in findings(snapshot, records)}


def test_consistent_snapshot_has_no_findings() -> None:
    assert findings(consistent_snapshot(), RECORDS) == []
    assert findings(consistent_snapshot().for_users([USER]), RECORDS) == []
    assert duplicates(consistent_snapshot()) == []


CORRUPTIONS: dict[str, tuple[Callable[[SystemSnapshot], object], str]] = {
    "an acknowledged purchase is lost": (
        lambda snapshot: snapshot.outbox.remove(event(snapshot, "PAYMENT_SUCCEEDED")),
        "acknowledged commands applied once",
    ),
    "a course was granted twice": (
        lambda snapshot: append_event(
            snapshot, "courses", ENROLLMENT, "ENROLLMENT_CREATED", **event(snapshot, "ENROLLMENT_CREATED")["payload"]
        ),
        "no duplicate effects",
    ),
    "an event is not on its topic": (lambda snapshot: snapshot.topics.pop(), "events are on their topics"),
    "two events are out of order": (
        lambda snapshot: snapshot.topics.insert(0, snapshot.topics.pop(1)),
        "versions are contiguous and in order",
    ),
    "an update was lost": (
        lambda snapshot: snapshot.tables["users.users"][0].update(version=1),
        "aggregate versions match events",
    ),
    "an event was not handled": (lambda snapshot: snapshot.inbox.clear(), "events are handled"),
    "a projection is behind": (
        lambda snapshot: snapshot.tables["notifications.contacts"][0].update(name="B"),
        "projections are the fold of events",
    ),
    "a buyer was charged twice": (
        lambda snapshot: snapshot.charges.append(dict(snapshot.charges[0])),
        "money is captured once and accounted for",
    ),
    "a refund was not requested": (
        lambda snapshot: snapshot.charges[0].update(refunded_minor=100),
        "refunds match requests",
    ),
    "access ended without a refund": (
        lambda snapshot: snapshot.tables["courses.grants"][0].update(status="revoked"),
        "refunds match requests",
    ),
    "the ledger is unbalanced": (
        lambda snapshot: snapshot.tables["payments.ledger_entries"][0].update(amount_minor=99),
        "ledger sums to zero",
    ),
    "a mail is missing": (lambda snapshot: snapshot.mails.pop(), "one mail for each event and recipient"),
    "a mail was skipped below the daily limit": (
        lambda snapshot: skip_mail(snapshot, event(snapshot, "ENROLLMENT_CREATED")),
        "one mail for each event and recipient",
    ),
    "a receipt was skipped": (
        lambda snapshot: skip_mail(snapshot, event(snapshot, "PAYMENT_SUCCEEDED")),
        "one mail for each event and recipient",
    ),
    "a completed lesson has no notification": (
        lambda snapshot: complete_lesson(snapshot) and snapshot.deliveries.pop(),
        "one notification for each event and recipient",
    ),
    "a mail has no event": (
        lambda snapshot: snapshot.mails.append({"headers": {"Message-ID": "<x@y>"}, "to": []}),
        "one mail for each event and recipient",
    ),
    "a notification is duplicated": (
        lambda snapshot: snapshot.deliveries.append(dict(snapshot.deliveries[-1])),
        "one notification for each event and recipient",
    ),
    "a message is still unacked": (
        lambda snapshot: snapshot.redis_lists.update({"unacked:progress": 1}),
        "no pending work",
    ),
}


def event(snapshot: SystemSnapshot, type_: str) -> dict:
    return next(row for row in snapshot.outbox if row["type"] == type_)


def skip_mail(snapshot: SystemSnapshot, skipped: dict) -> None:
    """Mark the mail of this event as skipped because of the daily limit."""
    delivery = next(
        row for row in snapshot.deliveries if row["event_id"] == skipped["id"] and row["channel"] == "email"
    )
    delivery.update(state="skipped", reason="daily_limit")
    snapshot.mails[:] = [mail for mail in snapshot.mails if delivery["_id"] not in mail["headers"]["Message-ID"]]
    for ended in [row for row in snapshot.outbox if row["payload"].get("notification_id") == delivery["_id"]]:
        snapshot.outbox.remove(ended)
        snapshot.topics[:] = [row for row in snapshot.topics if row["id"] != ended["id"]]


def complete_lesson(snapshot: SystemSnapshot) -> bool:
    """Complete a lesson: an in-app notification and no mail."""
    lesson = {"course_id": COURSE, "lesson_id": str(uuid4())}
    append_event(snapshot, "progress", f"{USER}:{COURSE}", "LESSON_COMPLETED", **lesson)
    [progress], [enrollment] = snapshot.tables["progress.course_progress"], snapshot.tables["courses.enrollments"]
    progress.update(version=2, lessons_completed=1)
    enrollment.update(lessons_completed=1)
    snapshot.tables["progress.completed_lessons"] = [{"user_id": USER, **lesson}]
    note = {"event_id": event(snapshot, "LESSON_COMPLETED")["id"], "user_id": USER, "category": "progress"}
    snapshot.deliveries.append({"_id": str(uuid4()), "channel": "in_app", **note})
    return True


@pytest.mark.parametrize("wrong", CORRUPTIONS, ids=str)
def test_inconsistency_is_found(wrong: str) -> None:
    snapshot = deepcopy(consistent_snapshot())
    corrupt, check = CORRUPTIONS[wrong]
    corrupt(snapshot)
    assert check in failed_checks(snapshot)


def test_captured_refused_payment_is_found() -> None:
    records = [ClientRecord(what="refused payment", user_id=USER, course_id=COURSE, order_id=ORDER)]
    assert "rejected commands had no effect" in failed_checks(consistent_snapshot(), records)


def test_duplicate_event_is_reported_only_without_crash() -> None:
    snapshot = consistent_snapshot()
    snapshot.topics.append(snapshot.topics[0])
    assert findings(snapshot, RECORDS) == []
    assert {finding.check for finding in duplicates(snapshot)} == {"nothing was sent twice"}


def test_completed_lesson_needs_in_app_notification_only() -> None:
    snapshot = consistent_snapshot()
    complete_lesson(snapshot)
    assert findings(snapshot, RECORDS) == []


def test_mail_above_daily_limit_may_be_skipped() -> None:
    snapshot = consistent_snapshot()
    skip_mail(snapshot, event(snapshot, "ENROLLMENT_CREATED"))
    before = {"user_id": USER, "channel": "email", "category": "courses", "state": "sent", "reason": None}
    snapshot.deliveries.extend({"_id": str(uuid4()), **before} for _ in range(settings.NOTIFICATIONS_PER_DAY))
    snapshot.tables["notifications.notification_sequences"][0].update(
        version=2
    )  # no NOTIFICATION_SENT for the skipped mail
    assert findings(snapshot, RECORDS) == []


def test_reminders_are_sent_at_most_once() -> None:
    snapshot, reminder = consistent_snapshot(), str(uuid4())
    snapshot.tables["notifications.reminders"] = [{"id": reminder, "user_id": USER}]
    assert findings(snapshot, RECORDS) == []
    mail = uuid5(UUID(reminder), f"{USER}/email")
    snapshot.mails.append({"headers": {"Message-ID": f"<{mail}@coursebus.dev>"}, "to": [PII["email"]]})
    note = {"_id": str(uuid4()), "channel": "in_app", "event_id": reminder, "user_id": USER}
    snapshot.deliveries.append(note)
    assert findings(snapshot, RECORDS) == []
    snapshot.deliveries.append(note)
    assert failed_checks(snapshot) == {"one notification for each event and recipient"}
