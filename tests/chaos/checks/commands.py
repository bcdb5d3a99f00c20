"""Commands: acknowledged commands were executed once, and rejected commands had no effect."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from tests.chaos.checker import ClientRecord, Row, SystemSnapshot, check, grouped


@check
def acknowledged_commands_applied_once(snapshot: SystemSnapshot, records: Collection[ClientRecord]) -> Iterator[str]:
    happened = Counter(_effects_of_events(snapshot.outbox))
    for each in records:
        for effect in _effects(each):
            if happened[effect] != 1:
                yield f"{each} was acknowledged, but {effect} exists {happened[effect]} times"


def _effects(record: ClientRecord) -> list[tuple[str, ...]]:
    effects: dict[str, list[tuple[str, ...]]] = {
        "registered": [("USER_CREATED", record.user_id)],
        "enrolled": [
            ("ENROLLMENT_CREATED", record.user_id, record.course_id),
            ("COURSE_STARTED", record.user_id, record.course_id),
        ],
        "ordered": [("ORDER_CREATED", record.order_id)],
        "paid": [
            ("PAYMENT_SUCCEEDED", record.order_id),
            ("COURSE_PURCHASED", record.order_id),
            ("ENROLLMENT_CREATED", record.user_id, record.course_id),
            ("COURSE_STARTED", record.user_id, record.course_id),
        ],
        "refunded": [("PAYMENT_REFUNDED", record.refund_id)],
        "written": [("COURSE_CREATED", record.course_id)],
        "completed": [("LESSON_COMPLETED", record.user_id, record.course_id, record.lesson_id)],
    }
    return effects.get(record.what, [])


def _effects_of_events(outbox: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """Yield the effect that each event reports."""
    by = {
        "USER_CREATED": ("user_id",),
        "ENROLLMENT_CREATED": ("user_id", "course_id"),
        "COURSE_STARTED": ("user_id", "course_id"),
        "ORDER_CREATED": ("order_id",),
        "PAYMENT_SUCCEEDED": ("order_id",),
        "PAYMENT_FAILED": ("order_id",),
        "COURSE_PURCHASED": ("order_id",),
        "PAYMENT_REFUNDED": ("refund_id",),
        "REFUND_REVERSED": ("refund_id",),
        "DISPUTE_OPENED": ("dispute_id",),
        "DISPUTE_CLOSED": ("dispute_id", "won"),
        "ENROLLMENT_ENDED": ("enrollment_id",),
        "LESSON_COMPLETED": ("user_id", "course_id", "lesson_id"),
        "COURSE_COMPLETED": ("user_id", "course_id"),
        "CERTIFICATE_ISSUED": ("user_id", "course_id"),
        "COURSE_CREATED": ("course_id",),
        "NOTIFICATION_SENT": ("notification_id",),
        "NOTIFICATION_FAILED": ("notification_id",),
    }
    for event in outbox:
        if fields := by.get(event["type"]):
            yield (event["type"], *(str(event["payload"][name]) for name in fields))


@check
def no_duplicate_effects(snapshot: SystemSnapshot, _records: Collection[ClientRecord]) -> Iterator[str]:
    for happening, times in Counter(_effects_of_events(snapshot.outbox)).items():
        if times > 1 and happening[0] != "PAYMENT_FAILED":  # one per attempt
            yield f"{happening} happened {times} times"
    for order, orders in grouped(snapshot.table("payments.orders"), "user_id", "course_id").items():
        if sum(row["status"] in {"paid", "pending"} for row in orders) > 1:
            yield f"{order} was ordered {len(orders)} times"
    courses = [row["payload"] for row in snapshot.outbox if row["type"] == "COURSE_CREATED"]
    for course, created in grouped(courses, "instructor_id", "title").items():
        if len(created) > 1:
            yield f"{course} was created {len(created)} times"


@check
def rejected_commands_had_no_effect(snapshot: SystemSnapshot, records: Collection[ClientRecord]) -> Iterator[str]:
    happened = set(_effects_of_events(snapshot.outbox))
    for each in records:
        refused = {
            "refused payment": ("PAYMENT_SUCCEEDED", each.order_id),
            "refused completion": ("LESSON_COMPLETED", each.user_id, each.course_id, each.lesson_id),
        }
        if refused.get(each.what) in happened:
            yield f"{each}, but it was executed"
        if each.what == "refused order" and any(
            (row["user_id"], row["course_id"]) == (each.user_id, each.course_id)
            for row in snapshot.table("payments.orders")
        ):
            yield f"{each}, but there is an order"
