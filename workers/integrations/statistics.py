"""Statistics of courses and of the shop: count the event log in pages, and read the sums.

The event log has every event once and in an order that never skips one. Counting it in pages costs neither a message
nor a transaction for each event (docs/decisions/0146).
"""

import time
from collections import defaultdict
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from core.log import get_logger
from models.events import (
    CourseCompleted,
    CourseRated,
    EnrollmentCreated,
    Event,
    LessonCompleted,
    LessonReopened,
    PaymentRefunded,
    PaymentSucceeded,
    QuizAttempted,
    RatingRemoved,
    RefundReversed,
)
from models.integrations.event_log import EventLogEntry
from models.integrations.facts import NO_ID, Fact, NewFact, facts_of
from models.integrations.statistics import Statistic, StatisticsCursor
from workers import job, projection, task
from workers.runtime.execution import Transactions

log = get_logger(__name__)

PAGE_SIZE = 1000  # positions of the event log in one transaction
_RUN_SECONDS = 20.0  # then the next run of the job continues
_COUNTED = {
    event.type: event
    for event in (
        *(EnrollmentCreated, LessonCompleted, LessonReopened, CourseCompleted, QuizAttempted, CourseRated),
        *(RatingRemoved, PaymentSucceeded, PaymentRefunded, RefundReversed),
    )
}
_TYPES = frozenset(_COUNTED)


@job
def count_events(transactions: Transactions) -> None:
    """Store the facts of the events that were logged since the last run, a page in each transaction."""
    until = time.monotonic() + _RUN_SECONDS
    while time.monotonic() < until:
        with transactions.begin() as session:
            if not count_page(session):
                return


def count_page(session: Session) -> bool:
    """Store the facts of the next page of the event log; return False at its end."""
    cursor = StatisticsCursor.get_for_update(session)
    before = cursor.position
    facts = [fact for entry in cursor.next_entries(session, _TYPES, limit=PAGE_SIZE) for fact in _facts_of_entry(entry)]
    Fact.apply(session, facts)
    return cursor.position > before


def _facts_of_entry(entry: EventLogEntry) -> list[NewFact]:
    """Return the facts of an entry; none of one that cannot be decoded, which must not stop those after it."""
    try:
        event = msgspec.convert(entry.data, _COUNTED[entry.type])
    except msgspec.ValidationError as error:
        log.warning("event not counted in statistics", position=entry.position, type=entry.type, reason=str(error))
        return []
    return list(facts_of(event, version=entry.sequence))


@task
def show_course_statistics(session: Session, *, course_id: UUID, since: date, until: date) -> dict[str, Any]:
    """Return the sums of a course: {"totals", "days", "lessons"}."""
    totals: dict[str, int] = {}
    money: dict[str, dict[str, int]] = defaultdict(dict)
    lessons: dict[str, dict[str, int]] = defaultdict(dict)
    for lesson_id, metric, currency, value in Statistic.list_totals(session, course_id):
        if lesson_id != NO_ID:
            lessons[str(lesson_id)][metric] = value
        elif currency:
            money[currency][metric] = value
        else:
            totals[metric] = value
    return {"totals": totals, "money": money, "lessons": lessons, "days": _days(session, course_id, since, until)}


@task
def show_shop_statistics(session: Session, *, since: date, until: date) -> dict[str, Any]:
    """Return the sums of the whole shop for each day: {"days"}."""
    return {"days": _days(session, NO_ID, since, until)}


def _days(session: Session, course_id: UUID, since: date, until: date) -> list[dict[str, Any]]:
    """Return an entry for each day, also for those on which nothing happened: {"day", "counts", "money"}."""
    dates = [since + timedelta(days=number) for number in range((until - since).days + 1)]
    days: dict[date, dict[str, Any]] = {each: {"day": each, "counts": {}, "money": {}} for each in dates}
    for day, metric, currency, value in Statistic.list_days(session, course_id, since=since, until=until):
        if currency:
            days[day]["money"].setdefault(currency, {})[metric] = value
        else:
            days[day]["counts"][metric] = value
    return list(days.values())


# The handlers named on_… are called by rebuilds. These lock the cursor, so that an erasure waits and sees their facts.


def _clear(session: Session, source: str) -> None:
    StatisticsCursor.get_for_update(session)
    Fact.clear(session, source)


def _clear_enrollment(session: Session, enrollment_id: str) -> None:
    StatisticsCursor.get_for_update(session)
    Fact.clear_enrollment(session, enrollment_id)


def _apply(session: Session, event: Event, event_version: int | None) -> None:
    Fact.apply(session, facts_of(event, version=event_version or 0))


def on_enrollment(session: Session, *, event: EnrollmentCreated, event_version: int | None = None) -> None:
    _apply(session, event, event_version)


def on_lesson_completed(session: Session, *, event: LessonCompleted, event_version: int | None = None) -> None:
    _apply(session, event, event_version)


def on_lesson_reopened(session: Session, *, event: LessonReopened, event_version: int | None = None) -> None:
    _apply(session, event, event_version)


def on_course_completed(session: Session, *, event: CourseCompleted, event_version: int | None = None) -> None:
    _apply(session, event, event_version)


def on_quiz_attempted(session: Session, *, event: QuizAttempted, event_version: int | None = None) -> None:
    _apply(session, event, event_version)


def on_course_rated(session: Session, *, event: CourseRated, event_version: int | None = None) -> None:
    _apply(session, event, event_version)


def on_rating_removed(session: Session, *, event: RatingRemoved, event_version: int | None = None) -> None:
    _apply(session, event, event_version)


def on_payment(session: Session, *, event: PaymentSucceeded, event_version: int | None = None) -> None:
    _apply(session, event, event_version)


def on_refund(session: Session, *, event: PaymentRefunded, event_version: int | None = None) -> None:
    _apply(session, event, event_version)


def on_refund_reversed(session: Session, *, event: RefundReversed, event_version: int | None = None) -> None:
    _apply(session, event, event_version)


projection(
    "integrations.learning_facts",
    clear_rows=_clear,
    handlers=[on_lesson_completed, on_lesson_reopened, on_course_completed],
)
projection(
    "integrations.enrollment_facts",
    clear_rows=_clear_enrollment,
    handlers=[on_enrollment, on_quiz_attempted, on_course_rated, on_rating_removed],
)
projection("integrations.sale_facts", clear_rows=_clear, handlers=[on_payment, on_refund, on_refund_reversed])
