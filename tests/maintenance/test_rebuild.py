"""Every projection can be emptied and made anew from events, and comes out equal."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from bridge import cli
from bridge import rebuild as rebuilding
from bridge.lanes import Record
from models.base import now, sessions
from models.events import (
    CourseArchived,
    CourseUpdated,
    LessonCompleted,
    LessonReopened,
    Person,
    UserCreated,
    UserUpdated,
)
from tests.bridge.past import course_published, enrollment_created, tell
from tests.courses.factories import make_course
from tests.gateway import running_worker
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import some
from workers._projections import PROJECTIONS
from workers.courses.learning import enroll


@pytest.fixture(autouse=True)
def database(database: Database) -> Iterator[Database]:
    with running_worker("courses", "payments", "progress", "notifications"):
        yield database


def handle(handler: str, record: Record) -> None:
    """What the bridge has the worker do."""
    message = {"event": msgspec.json.decode(record.value)}
    reply = deliver(handler, message, event_id=record.event_id)
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


def tell_completion(learner: UUID, course_id: UUID, completed: int) -> Record:
    event = LessonCompleted(
        user_id=learner,
        course_id=course_id,
        course_title="Sailing",
        lesson_id=uuid4(),
        lesson_title="Knots",
        lessons_completed=completed,
        lessons_total=3,
        completed_at=now(),
    )
    return tell(event, f"{learner}:{course_id}", version=completed)


@dataclass(frozen=True)
class Story:
    """How the rows of a projection come about, and how they are spoiled."""

    tell: Callable[[], None]
    rows: str
    spoil: str


STORIES = {
    "progress.outlines": Story(
        published_versions,
        "progress.outlines",
        """DELETE FROM progress.outlines WHERE course_id NOT IN (SELECT course_id FROM progress.course_progress);
           UPDATE progress.outlines SET title = '?', lessons = '[]'""",
    ),
    "payments.offers": Story(offers, "payments.offers", "DELETE FROM payments.offers"),
    "notifications.contacts": Story(contacts, "notifications.contacts", "DELETE FROM notifications.contacts"),
    "courses.completion_counts": Story(
        completion_counts,
        "courses.enrollments",
        "UPDATE courses.enrollments SET lessons_completed = 0, progress_percent = 0",
    ),
}


def test_every_projection_has_its_story():
    assert set(STORIES) == set(PROJECTIONS)


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
