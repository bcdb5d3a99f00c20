"""Every projection can be emptied and made anew from events, and comes out equal."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy.orm import Session

from bridge import cli
from bridge import rebuild as rebuilding
from bridge.lanes import Record, attributes_of
from models.base import now, sessions
from models.events import (
    CourseArchived,
    CourseCompleted,
    CourseUpdated,
    EnrollmentEnded,
    LessonCompleted,
    LessonReopened,
    OrderCanceled,
    OrderCreated,
    PaymentSucceeded,
    Person,
    UserCreated,
    UserUpdated,
    every_event,
)
from tests.bridge.past import course_published, enrollment_created, tell
from tests.courses.factories import make_course
from tests.gateway import running_worker
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import some
from workers._projections import PROJECTIONS, projection
from workers.courses.learning import enroll


@pytest.fixture(autouse=True)
def database(database: Database) -> Iterator[Database]:
    with running_worker("courses", "payments", "progress", "notifications"):
        yield database


def handle(handler: str, record: Record) -> None:
    """What the bridge has the worker do."""
    message = {"event": msgspec.json.decode(record.value)}
    reply = deliver(handler, message, event_id=record.event_id, event_headers=attributes_of(record.headers))
    assert "result" in reply, reply


def course_updated(course_id: UUID, price_minor: int) -> CourseUpdated:
    return CourseUpdated(
        course_id=course_id,
        slug="sailing",
        title="Sailing anew",
        on_sale=True,
        price_minor=price_minor,
        currency="EUR",
        updated_at=now(),
    )


def published_versions() -> None:
    for lessons in (1, 3):
        course_id = uuid4()
        for version in (1, 2):
            event = course_published(course_id, version=version, lessons=lessons)
            handle("progress.keep_outline", tell(event, course_id, version=version))
    # Somebody is under way on a version, which a rebuild must not pull from under them.
    handle("progress.start_course", tell(enrollment_created(course_id), uuid4()))


def sales() -> None:
    withdrawn, archived = uuid4(), uuid4()
    for course_id in (withdrawn, archived):
        handle("progress.keep_outline", tell(course_published(course_id), course_id))
    update = replace(course_updated(withdrawn, 900), on_sale=False)
    handle("progress.change_sale", tell(update, withdrawn, version=2))
    end = CourseArchived(course_id=archived, archived_at=now())
    handle("progress.end_sale", tell(end, archived, version=2))


def offers() -> None:
    cheaper, withdrawn = uuid4(), uuid4()
    for course_id in (cheaper, withdrawn):
        handle("payments.keep_offer", tell(course_published(course_id), course_id))
    handle("payments.change_offer", tell(course_updated(cheaper, 900), cheaper, version=2))
    handle("payments.change_offer", tell(course_updated(cheaper, 800), cheaper, version=3))
    archived = CourseArchived(course_id=withdrawn, archived_at=now())
    handle("payments.withdraw_offer", tell(archived, withdrawn, version=2))


def contacts() -> None:
    changed, new = uuid4(), uuid4()
    for user_id in (changed, new):
        pii = Person(email="ann@example.com", name="Ann")
        event = UserCreated(user_id=user_id, sub=f"auth0|{user_id}", pii=pii, created_at=now())
        handle("notifications.welcome_user", tell(event, user_id))
    pii = Person(email="ann@example.com", name="Anna", locale="de", timezone="Europe/Berlin")
    event = UserUpdated(user_id=changed, version=2, pii=pii, updated_at=now())
    handle("notifications.keep_contact", tell(event, changed, version=2))


def completion_counts() -> None:
    learner = uuid4()
    with sessions("courses").begin() as session:
        course_id = make_course(session, price={"amount_minor": 0, "currency": "USD"}).id
        enroll(session, user_id=learner, course_id=course_id)
    for completed in (1, 2):
        handle("courses.count_completion", tell_completion(learner, course_id, completed))
    reopened = some(LessonReopened, user_id=learner, course_id=course_id, lessons_completed=1, lessons_total=3)
    handle("courses.count_reopening", tell(reopened, f"{learner}:{course_id}", version=3))


def tell_completion(learner: UUID, course_id: UUID, completed: int, *, at: datetime | None = None) -> Record:
    event = LessonCompleted(
        user_id=learner,
        course_id=course_id,
        course_title="Sailing",
        lesson_id=uuid4(),
        lesson_title="Knots",
        lessons_completed=completed,
        lessons_total=3,
        completed_at=at or now(),
    )
    return tell(event, f"{learner}:{course_id}", version=completed)


def learner() -> UUID:
    user_id = uuid4()
    event = UserCreated(
        user_id=user_id, sub=f"auth0|{user_id}", pii=Person(email="bo@example.com", name="Bo"), created_at=now()
    )
    handle("notifications.welcome_user", tell(event, user_id))
    return user_id


def accesses() -> None:
    stays, leaves = learner(), learner()
    for user_id in (stays, leaves):
        event = replace(enrollment_created(uuid4()), user_id=user_id)
        handle("notifications.welcome_learner", tell(event, event.enrollment_id))
        # What another topic told of the same course stays as it is.
        handle("notifications.congratulate_on_lesson", tell_completion(user_id, event.course_id, 1))
    told = {"enrollment_id": event.enrollment_id, "user_id": leaves, "course_id": event.course_id}
    ended = some(EnrollmentEnded, **told, ended_at=now())
    handle("notifications.leave_course", tell(ended, event.enrollment_id, version=2))


def studies() -> None:
    user_id = learner()
    for course_id in (uuid4(), uuid4()):
        event = replace(enrollment_created(course_id), user_id=user_id)
        handle("notifications.welcome_learner", tell(event, event.enrollment_id))
        for completed, days_ago in ((1, 2), (2, 1)):
            at = now() - timedelta(days=days_ago)
            handle("notifications.congratulate_on_lesson", tell_completion(user_id, course_id, completed, at=at))
    done = some(CourseCompleted, user_id=user_id, course_id=course_id, course_title="Sailing", completed_at=now())
    handle("notifications.congratulate_on_course", tell(done, f"{user_id}:{course_id}", version=3))


def checkouts() -> None:
    user_id = learner()
    for end in ("none", "paid", "canceled"):
        order = some(OrderCreated, user_id=user_id)
        handle("notifications.watch_checkout", tell(order, order.order_id))
        if end == "paid":
            event = some(PaymentSucceeded, user_id=user_id, order_id=order.order_id)
            handle("notifications.send_receipt", tell(event, order.order_id, version=2))
        elif end == "canceled":
            event = some(OrderCanceled, user_id=user_id, order_id=order.order_id)
            handle("notifications.drop_checkout", tell(event, order.order_id, version=2))


@dataclass(frozen=True)
class Story:
    """How the rows of a projection come about, and how they are spoiled."""

    tell: Callable[[], None]
    rows: str
    spoil: str


# What learners may be reminded of, of all tables that it stands in.
_REMINDED = """(SELECT to_jsonb(learnings) FROM notifications.learnings
                UNION ALL SELECT to_jsonb(waits) FROM notifications.waits)"""

STORIES = {
    "progress.outlines": Story(
        published_versions,
        "progress.outlines",
        """DELETE FROM progress.outlines WHERE course_id NOT IN (SELECT course_id FROM progress.course_progress);
           UPDATE progress.outlines SET title = '?', lessons = '[]'""",
    ),
    "progress.course_sales": Story(sales, "progress.course_sales", "DELETE FROM progress.course_sales"),
    "payments.offers": Story(offers, "payments.offers", "DELETE FROM payments.offers"),
    "notifications.contacts": Story(contacts, "notifications.contacts", "DELETE FROM notifications.contacts"),
    "notifications.accesses": Story(
        accesses,
        _REMINDED,
        """UPDATE notifications.learnings SET enrolled_at = '2000-01-01', ended_at = NULL;
           DELETE FROM notifications.waits""",
    ),
    "notifications.studies": Story(
        studies,
        _REMINDED,
        """UPDATE notifications.learnings SET studied_at = NULL, studied_on = '{}', completed_at = NULL;
           UPDATE notifications.waits SET since = '2000-01-01'""",
    ),
    "notifications.checkouts": Story(checkouts, "notifications.waits", "DELETE FROM notifications.waits"),
    "courses.completion_counts": Story(
        completion_counts,
        "courses.enrollments",
        "UPDATE courses.enrollments SET lessons_completed = 0, progress_percent = 0",
    ),
}


def test_every_projection_has_its_story():
    assert set(STORIES) == set(PROJECTIONS)


def test_a_projection_of_events_that_are_pruned_is_refused():
    def forget(session: Session, key: str) -> None: ...
    def fold(session: Session, *, event: OrderCreated) -> None: ...

    with pytest.raises(TypeError, match="ORDER_CREATED"):
        projection("payments.some", forget=forget, folds=[fold])


def test_no_event_is_kept_that_no_projection_is_made_of():
    made_of = {type_ for each in PROJECTIONS.values() for type_ in each.types}
    assert {event.type for event in every_event() if event.kept_for_good} <= made_of


@pytest.mark.parametrize("projection", STORIES)
def test_a_projection_is_made_anew_and_comes_out_equal(projection: str, database: Database):
    story = STORIES[projection]
    rows = f"SELECT kept::text FROM {story.rows} kept ORDER BY 1"  # noqa: S608
    story.tell()
    before = database.rows(rows)
    database.execute(story.spoil)
    assert database.rows(rows) != before

    assert cli.main(["rebuild", projection]) == 0
    assert database.rows(rows) == before

    # Nor does a second one change anything.
    assert cli.main(["rebuild", projection]) == 0
    assert database.rows(rows) == before


def test_an_event_that_is_handled_during_a_rebuild_is_not_undone_by_it(database: Database, monkeypatch):
    course_id = uuid4()
    handle("payments.keep_offer", tell(course_published(course_id), course_id))
    ask = rebuilding.ask

    def while_a_price_changes(task: str, message: dict[str, Any]) -> Any:
        if task == "payments.rebuild_projection" and len(message["events"]) == 1:
            handle("payments.change_offer", tell(course_updated(course_id, 700), course_id, version=2))
        return ask(task, message)

    monkeypatch.setattr(rebuilding, "ask", while_a_price_changes)

    rebuilding.rebuild("payments.offers")

    assert database.value("SELECT amount_minor FROM payments.offers") == 700


def test_an_unknown_projection_is_refused(capsys):
    assert cli.main(["rebuild", "payments.nothing"]) == 1
    assert cli.main(["rebuild", "nothing"]) == 1
    assert capsys.readouterr().out == "There is no projection payments.nothing.\nThere is no projection nothing.\n"
