"""The number of SQL statements of the most frequent tasks, without those that begin every transaction."""

from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.messaging.event_messages import ReceivedEvent
from models.commands.courses import CatalogueFilters
from models.events import EnrollmentCreated
from tests.integration.courses.factories import completion_of, make_catalogue, make_course, purchase_of
from tests.integration.progress.builders import Learner
from tests.support.statements import at_most
from tests.support.tasks import noop_cache
from workers.courses.access import grant_access
from workers.courses.catalogue import list_courses
from workers.courses.learning import (
    enroll,
    list_enrollments,
    list_learner_courses,
    show_learner_course,
    update_progress_on_completion,
)
from workers.progress.learning import start_course
from workers.progress.queries import list_course_progress, show_learner_progress

PAGE = {"sort": None, "after": None, "limit": 20}


@pytest.mark.parametrize("course", [{}, {"sequential": True}], ids=str)
def test_completion_takes_four_statements(session: Session, plain_engine: Engine, course: dict[str, bool]):
    learner = Learner(session, lessons=3, **course)
    for lesson_id in learner.lessons:  # the last completion also issues the certificate
        session.flush()
        session.expunge_all()
        with at_most(4, plain_engine):
            learner.complete(lesson_id)
            session.flush()


def test_batch_of_completions_takes_a_statement_for_each_and_four(session: Session, plain_engine: Engine):
    learner = Learner(session, lessons=30)
    done_offline = [learner.offline_event(lesson_id, minute=at) for at, lesson_id in enumerate(learner.lessons)]
    session.flush()
    session.expunge_all()
    with at_most(len(done_offline) + 4, plain_engine):
        learner.merge(*done_offline)
        session.flush()
    assert learner.progress()["status"] == "completed"


def test_progress_takes_one_statement(session: Session, plain_engine: Engine):
    learner = Learner(session)
    session.flush()
    session.expunge_all()
    with at_most(1, plain_engine):
        learner.progress()


def test_learner_course_takes_one_statement_in_each_service(session: Session, plain_engine: Engine):
    required = Learner(session, lessons=1)
    learner = Learner(session, user_id=required.user_id, prerequisites=[required.course_id])
    course = make_course(session)
    purchase = purchase_of(course)
    grant_access(session, event=purchase)
    session.flush()
    session.expunge_all()
    with at_most(2, plain_engine):
        show_learner_progress(session, **learner.in_course)
        list_course_progress(session, user_id=learner.user_id, course_ids=[learner.course_id])
    session.expunge_all()
    with at_most(2, plain_engine):
        show_learner_course(session, user_id=purchase.user_id, course_id=purchase.course_id)
        list_learner_courses(session, user_id=purchase.user_id, after=None, limit=20)


def test_first_grant_takes_seven_statements_and_progress_one(session: Session, plain_engine: Engine):
    course = make_course(session)
    purchase = purchase_of(course)
    session.flush()
    session.expunge_all()
    with at_most(7, plain_engine):
        grant_access(session, event=purchase)
        session.flush()
    completed = {version: completion_of(course, purchase.user_id, lessons_completed=version - 1) for version in (3, 2)}
    with at_most(1, plain_engine):
        update_progress_on_completion(
            session,
            events=[
                ReceivedEvent(
                    event=msgspec.to_builtins(event), event_id=uuid4(), event_headers={"ce_sequence": str(version)}
                )
                for version, event in completed.items()
            ],
        )
    [item] = list_enrollments(session, user_id=purchase.user_id, after=None, limit=1)["items"]
    assert item["progress_percent"] == 66  # of the newest event


def test_start_of_a_course_takes_three_statements(session: Session, plain_engine: Engine):
    learner = Learner(session)  # the process remembers the outline
    session.flush()
    other = EnrollmentCreated(**{**vars(learner.enrolled()), "user_id": uuid4()})
    with at_most(3, plain_engine):
        start_course(session, noop_cache, event=other, event_version=1)
        session.flush()


def test_enrollment_takes_six_statements(session: Session, plain_engine: Engine):
    course = make_course(session, price={"amount_minor": 0, "currency": "USD"})
    session.flush()
    session.expunge_all()
    with at_most(6, plain_engine):
        enroll(session, user_id=uuid4(), course_id=course.id)
        session.flush()


@pytest.mark.parametrize("options", [{}, {"facets": True, "total": True}, {"total": True}], ids=str)
def test_course_list_takes_two_statements(session: Session, plain_engine: Engine, options: dict[str, bool]):
    category = make_catalogue(session, {}, {})
    session.flush()
    with at_most(2, plain_engine):
        list_courses(
            session, filters=CatalogueFilters(category=category), **PAGE, **{"facets": False, "total": False, **options}
        )


def test_misspelled_search_takes_two_statements(session: Session, plain_engine: Engine):
    name = f"zx{uuid4().hex[:10]}"
    make_catalogue(session, {"title": f"{name} for all"})
    session.flush()
    with at_most(2, plain_engine):
        found = list_courses(session, filters=CatalogueFilters(q=f"{name[:-1]}q"), **PAGE, facets=False, total=False)
    assert len(found["items"]) == 1
