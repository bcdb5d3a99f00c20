"""Every projection can be cleared and rebuilt from events with an equal result."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy.orm import Session

from bridge import cli
from bridge.admin import rebuild as rebuilding
from bridge.record import Record, cloudevent_attributes
from core.commands import Command
from core.db import session_factory, utc_now
from models.commands import RebuildProjection
from models.events import (
    CourseArchived,
    CourseCompleted,
    CourseRated,
    CourseUpdated,
    EnrollmentEnded,
    LessonCompleted,
    LessonReopened,
    OrderCanceled,
    OrderCreated,
    PaymentRefunded,
    PaymentSucceeded,
    Person,
    QuizAttempted,
    RefundReversed,
    UserCreated,
    UserUpdated,
    all_event_types,
)
from tests.integration.bridge.event_builders import course_published, enrollment_created, store_event
from tests.integration.courses.factories import make_course
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event
from tests.support.gateway import running_worker
from workers.courses.learning import enroll
from workers.integrations.statistics import count_page
from workers.runtime.projections import PROJECTIONS, projection


@pytest.fixture(autouse=True)
def database(database: Database) -> Iterator[Database]:
    with running_worker("courses", "payments", "progress", "notifications", "integrations"):
        yield database


def handle(handler: str, record: Record) -> None:
    """Deliver the event to the handler, as the bridge does through the worker."""
    message = {"event": msgspec.json.decode(record.value)}
    reply = deliver(handler, message, event_id=record.event_id, event_headers=cloudevent_attributes(record.headers))
    assert "result" in reply, reply


def course_updated(course_id: UUID, price_minor: int) -> CourseUpdated:
    return CourseUpdated(
        course_id=course_id,
        slug="sailing",
        title="Sailing again",
        on_sale=True,
        price_minor=price_minor,
        currency="EUR",
        updated_at=utc_now(),
    )


def published_versions() -> None:
    for lessons in (1, 3):
        course_id = uuid4()
        for version in (1, 2):
            event = course_published(course_id, version=version, lessons=lessons)
            handle("progress.upsert_outline", store_event(event, course_id, version=version))
    # A learner has started this version, so a rebuild must not replace it.
    handle("progress.start_course", store_event(enrollment_created(course_id), uuid4()))


def sales() -> None:
    withdrawn, archived = uuid4(), uuid4()
    for course_id in (withdrawn, archived):
        handle("progress.upsert_outline", store_event(course_published(course_id), course_id))
    update = replace(course_updated(withdrawn, 900), on_sale=False)
    handle("progress.change_sale", store_event(update, withdrawn, version=2))
    end = CourseArchived(course_id=archived, archived_at=utc_now())
    handle("progress.end_sale", store_event(end, archived, version=2))


def offers() -> None:
    cheaper, withdrawn = uuid4(), uuid4()
    for course_id in (cheaper, withdrawn):
        handle("payments.upsert_offer", store_event(course_published(course_id), course_id))
    handle("payments.update_offer", store_event(course_updated(cheaper, 900), cheaper, version=2))
    handle("payments.update_offer", store_event(course_updated(cheaper, 800), cheaper, version=3))
    archived = CourseArchived(course_id=withdrawn, archived_at=utc_now())
    handle("payments.withdraw_offer", store_event(archived, withdrawn, version=2))


def contacts() -> None:
    changed, new = uuid4(), uuid4()
    for user_id in (changed, new):
        pii = Person(email="ann@example.com", name="Ann")
        event = UserCreated(user_id=user_id, sub=f"auth0|{user_id}", pii=pii, created_at=utc_now())
        handle("notifications.send_welcome", store_event(event, user_id))
    pii = Person(email="ann@example.com", name="Anna", locale="de", timezone="Europe/Berlin")
    event = UserUpdated(user_id=changed, version=2, pii=pii, updated_at=utc_now())
    handle("notifications.update_contact", store_event(event, changed, version=2))


def addresses() -> None:
    user_id = uuid4()
    for version, email in ((1, "ann@example.com"), (2, "Anna@example.com")):
        pii = Person(email=email, name="Ann", email_verified=True)
        event = UserUpdated(user_id=user_id, version=version, pii=pii, updated_at=utc_now())
        handle("courses.update_address", store_event(event, user_id, version=version))


def completion_counts() -> None:
    learner = uuid4()
    with session_factory("courses").begin() as session:
        course_id = make_course(session, price={"amount_minor": 0, "currency": "USD"}).id
        enroll(session, user_id=learner, course_id=course_id)
    for completed in (1, 2):
        handle("courses.update_progress_on_completion", store_completion(learner, course_id, completed))
    reopened = build_event(LessonReopened, user_id=learner, course_id=course_id, lessons_completed=1, lessons_total=3)
    handle("courses.update_progress_on_reopen", store_event(reopened, f"{learner}:{course_id}", version=3))


def store_completion(learner: UUID, course_id: UUID, completed: int, *, at: datetime | None = None) -> Record:
    event = LessonCompleted(
        user_id=learner,
        course_id=course_id,
        course_title="Sailing",
        lesson_id=uuid4(),
        lesson_title="Knots",
        lessons_completed=completed,
        lessons_total=3,
        completed_at=at or utc_now(),
    )
    return store_event(event, f"{learner}:{course_id}", version=completed)


def learner() -> UUID:
    user_id = uuid4()
    event = UserCreated(
        user_id=user_id, sub=f"auth0|{user_id}", pii=Person(email="bo@example.com", name="Bo"), created_at=utc_now()
    )
    handle("notifications.send_welcome", store_event(event, user_id))
    return user_id


def accesses() -> None:
    current, former = learner(), learner()
    for user_id in (current, former):
        event = replace(enrollment_created(uuid4()), user_id=user_id)
        handle("notifications.send_enrollment_confirmation", store_event(event, event.enrollment_id))
        # Activity of the same course comes from another topic and must not change.
        handle("notifications.send_lesson_completed", store_completion(user_id, event.course_id, 1))
    ids = {"enrollment_id": event.enrollment_id, "user_id": former, "course_id": event.course_id}
    ended = build_event(EnrollmentEnded, **ids, ended_at=utc_now())
    handle("notifications.on_enrollment_ended", store_event(ended, event.enrollment_id, version=2))


def studies() -> None:
    user_id = learner()
    for course_id in (uuid4(), uuid4()):
        event = replace(enrollment_created(course_id), user_id=user_id)
        handle("notifications.send_enrollment_confirmation", store_event(event, event.enrollment_id))
        for completed, days_ago in ((1, 2), (2, 1)):
            at = utc_now() - timedelta(days=days_ago)
            handle("notifications.send_lesson_completed", store_completion(user_id, course_id, completed, at=at))
    done = build_event(
        CourseCompleted, user_id=user_id, course_id=course_id, course_title="Sailing", completed_at=utc_now()
    )
    handle("notifications.send_course_completed", store_event(done, f"{user_id}:{course_id}", version=3))


def checkouts() -> None:
    user_id = learner()
    for end in ("none", "paid", "canceled"):
        order = build_event(OrderCreated, user_id=user_id)
        handle("notifications.start_checkout_reminder", store_event(order, order.order_id))
        if end == "paid":
            event = build_event(PaymentSucceeded, user_id=user_id, order_id=order.order_id)
            handle("notifications.send_receipt", store_event(event, order.order_id, version=2))
        elif end == "canceled":
            event = build_event(OrderCanceled, user_id=user_id, order_id=order.order_id)
            handle("notifications.cancel_checkout_reminder", store_event(event, order.order_id, version=2))


def log(record: Record) -> None:
    """Append the event to the event log, and count the log."""
    handle("integrations.append_event_to_log", record)
    with session_factory("integrations").begin() as session:
        assert count_page(session)


def learned() -> None:
    user_id, course_id = uuid4(), uuid4()
    completed = store_completion(user_id, course_id, 1)
    log(completed)
    log(store_completion(user_id, course_id, 2, at=utc_now() - timedelta(days=1)))
    lesson_id = UUID(msgspec.json.decode(completed.value)["lesson_id"])
    ids = {"user_id": user_id, "course_id": course_id}
    log(store_event(build_event(LessonReopened, **ids, lesson_id=lesson_id), f"{user_id}:{course_id}", version=3))
    log(store_event(build_event(CourseCompleted, **ids), f"{user_id}:{course_id}", version=4))


def rated() -> None:
    event = enrollment_created()
    ids = {"user_id": event.user_id, "course_id": event.course_id}
    log(store_event(event, event.enrollment_id))
    log(store_event(build_event(QuizAttempted, **ids, passed=True), event.enrollment_id, version=2))
    for version, rating in ((3, 2), (4, 5)):
        rated = build_event(CourseRated, **ids, rating=rating)
        log(store_event(rated, event.enrollment_id, version=version))


def sold() -> None:
    order_id, courses = uuid4(), [uuid4(), uuid4()]
    bought = {"order_id": order_id, "amount_minor": 4901, "currency": "EUR", "course_ids": courses}
    log(store_event(build_event(PaymentSucceeded, **bought), order_id))
    for version, refund_id in ((2, uuid4()), (3, uuid4())):
        log(store_event(build_event(PaymentRefunded, **bought, refund_id=refund_id), order_id, version=version))
    log(store_event(build_event(RefundReversed, **bought, refund_id=refund_id), order_id, version=4))


@dataclass(frozen=True)
class Scenario:
    """Handlers that fill a projection, the rows to compare, and SQL that corrupts them."""

    fill: Callable[[], None]
    rows: str
    corrupt: str


# The rows of all tables that reminders are made from.
_REMINDERS = """(SELECT to_jsonb(learning_activity) FROM notifications.learning_activity
                UNION ALL SELECT to_jsonb(pending_reminders) FROM notifications.pending_reminders)"""

SCENARIOS = {
    "progress.outlines": Scenario(
        published_versions,
        "progress.outlines",
        """DELETE FROM progress.outlines WHERE course_id NOT IN (SELECT course_id FROM progress.course_progress);
           UPDATE progress.outlines SET title = '?', lessons = '[]'""",
    ),
    "progress.course_sales": Scenario(sales, "progress.course_sales", "DELETE FROM progress.course_sales"),
    "payments.offers": Scenario(offers, "payments.offers", "DELETE FROM payments.offers"),
    "notifications.contacts": Scenario(contacts, "notifications.contacts", "DELETE FROM notifications.contacts"),
    "notifications.course_access": Scenario(
        accesses,
        _REMINDERS,
        """UPDATE notifications.learning_activity SET enrolled_at = '2000-01-01', ended_at = NULL;
           DELETE FROM notifications.pending_reminders""",
    ),
    "notifications.learning_activity": Scenario(
        studies,
        _REMINDERS,
        """UPDATE notifications.learning_activity SET studied_at = NULL, studied_on = '{}', completed_at = NULL;
           UPDATE notifications.pending_reminders SET since = '2000-01-01'""",
    ),
    "notifications.checkouts": Scenario(
        checkouts, "notifications.pending_reminders", "DELETE FROM notifications.pending_reminders"
    ),
    "integrations.learning_facts": Scenario(learned, "integrations.statistics", "DELETE FROM integrations.facts"),
    "integrations.enrollment_facts": Scenario(rated, "integrations.statistics", "DELETE FROM integrations.facts"),
    "integrations.sale_facts": Scenario(sold, "integrations.statistics", "DELETE FROM integrations.facts"),
    "courses.addresses": Scenario(addresses, "courses.addresses", "DELETE FROM courses.addresses"),
    "courses.completion_counts": Scenario(
        completion_counts,
        "courses.enrollments",
        "UPDATE courses.enrollments SET lessons_completed = 0, progress_percent = 0",
    ),
}


def test_every_projection_has_a_scenario():
    assert set(SCENARIOS) == set(PROJECTIONS)


def test_projection_of_pruned_events_is_rejected():
    def clear(session: Session, key: str) -> None: ...
    def fold(session: Session, *, event: OrderCreated) -> None: ...

    with pytest.raises(TypeError, match="ORDER_CREATED"):
        projection("payments.some", clear_rows=clear, handlers=[fold])


def test_permanent_events_feed_a_projection():
    projected = {type_ for each in PROJECTIONS.values() for type_ in each.types}
    assert {event.type for event in all_event_types() if event.retained_forever} <= projected


@pytest.mark.parametrize("projection", SCENARIOS)
def test_rebuilt_projection_is_equal(projection: str, database: Database):
    scenario = SCENARIOS[projection]
    rows = f"SELECT kept::text FROM {scenario.rows} kept ORDER BY 1"  # noqa: S608
    scenario.fill()
    before = database.rows(rows)
    database.execute(scenario.corrupt)
    assert database.rows(rows) != before

    assert cli.main(["rebuild", projection]) == 0
    assert database.rows(rows) == before

    # A second rebuild changes nothing.
    assert cli.main(["rebuild", projection]) == 0
    assert database.rows(rows) == before


def test_event_handled_during_rebuild_is_kept(database: Database, monkeypatch):
    course_id = uuid4()
    handle("payments.upsert_offer", store_event(course_published(course_id), course_id))
    call_unchanged = rebuilding.call

    def change_price_and_call(command: Command) -> Any:
        if isinstance(command, RebuildProjection) and len(command.events) == 1:
            handle("payments.update_offer", store_event(course_updated(course_id, 700), course_id, version=2))
        return call_unchanged(command)

    monkeypatch.setattr(rebuilding, "call", change_price_and_call)

    rebuilding.rebuild("payments.offers")

    assert database.value("SELECT amount_minor FROM payments.offers") == 700


def test_unknown_projection_is_rejected(capsys):
    assert cli.main(["rebuild", "payments.nothing"]) == 1
    assert cli.main(["rebuild", "nothing"]) == 1
    assert capsys.readouterr().out == "There is no projection payments.nothing.\nThere is no projection nothing.\n"
