"""Reviews: one a learner, counted in the catalogue."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.db import session_factory
from models.commands.courses import Caller, CatalogueFilters
from models.courses.catalogue import CatalogueEntry
from models.courses.course import Course
from models.courses.enrollments import Enrollment
from models.errors import NotEnrolled, NotFound
from tests.integration.courses.factories import author_of, make_catalogue, make_course, published_events, purchase_of
from tests.support.databases import Database
from tests.support.polling import eventually, run_concurrently
from tests.support.tasks import noop_cache
from workers.courses.access import grant_access
from workers.courses.authoring import publish_course, unpublish_course
from workers.courses.catalogue import list_courses
from workers.courses.reviews import (
    list_reviews,
    moderate_review,
    remove_review,
    reply_to_review,
    review_course,
    show_own_review,
)


def learner_of(session: Session, course: Course) -> UUID:
    user_id = uuid4()
    grant_access(session, event=purchase_of(course, user_id=user_id))
    return user_id


def review(session: Session, course: Course, rating: int, *, user_id: UUID | None = None, text: str = "") -> dict:
    user_id = user_id or learner_of(session, course)
    return review_course(session, user_id=user_id, course_id=course.id, rating=rating, text=text)


def rating_of(session: Session, course: Course) -> dict:
    entry = session.get_one(CatalogueEntry, course.id, populate_existing=True)
    return entry.to_response()["rating"]


def test_catalogue_rating_averages_reviews(session: Session):
    course = make_course(session)
    assert rating_of(session, course) == {"average": None, "count": 0}
    for rating in (5, 4, 4):
        review(session, course, rating)
    assert rating_of(session, course) == {"average": 4.33, "count": 3}


def test_second_review_replaces_first(session: Session):
    course = make_course(session)
    user_id = learner_of(session, course)
    first = review(session, course, 1, user_id=user_id, text="Dull.")
    second = review(session, course, 5, user_id=user_id, text="I had not read on.")
    assert (second["id"], second["created_at"], second["rating"]) == (first["id"], first["created_at"], 5)
    assert rating_of(session, course) == {"average": 5.0, "count": 1}


def test_review_publishes_event_and_keeps_course_version(session: Session):
    course = make_course(session)
    version = course.version
    user_id = learner_of(session, course)
    review(session, course, 4, user_id=user_id)
    session.refresh(course)
    assert course.version == version
    enrollment = Enrollment.find(session, user_id, course.id)
    assert [event.type for event in published_events(session, enrollment.id)] == ["ENROLLMENT_CREATED", "COURSE_RATED"]


def test_review_requires_enrollment(session: Session):
    with pytest.raises(NotEnrolled):
        review(session, make_course(session), 5, user_id=uuid4())


def test_reviews_are_paged_newest_first(session: Session):
    course = make_course(session)
    for rating in (1, 2, 3):
        review(session, course, rating)
    first = list_reviews(session, course_id=course.id, after=None, limit=2)
    rest = list_reviews(session, course_id=course.id, after=first["next"], limit=2)
    assert [item["rating"] for item in first["items"] + rest["items"]] == [3, 2, 1]
    assert rest["next"] is None
    with pytest.raises(NotFound):
        list_reviews(session, course_id=uuid4(), after=None, limit=2)


def events_of(session: Session, user_id: UUID, course: Course) -> list[str]:
    enrollment = Enrollment.find(session, user_id, course.id)
    return [event.type for event in published_events(session, enrollment.id)]


def test_learner_deletes_their_review(session: Session):
    course = make_course(session)
    user_id = learner_of(session, course)
    review(session, course, 1, user_id=user_id)
    review(session, course, 5)

    remove_review(session, user_id=user_id, course_id=course.id)

    assert rating_of(session, course) == {"average": 5.0, "count": 1}
    assert events_of(session, user_id, course)[-1] == "RATING_REMOVED"
    with pytest.raises(NotFound):
        show_own_review(session, user_id=user_id, course_id=course.id)
    with pytest.raises(NotFound):
        remove_review(session, user_id=user_id, course_id=course.id)


def test_instructor_replies_to_reviews_of_their_course(session: Session):
    course = make_course(session)
    written = review(session, course, 2, text="Too fast.")
    reply = {"course_id": course.id, "review_id": written["id"]}

    reply_to_review(session, caller=author_of(course), text="The second edition is slower.", **reply)

    (shown,) = list_reviews(session, course_id=course.id, after=None, limit=2)["items"]
    assert shown["reply"]["text"] == "The second edition is slower."
    with pytest.raises(NotFound):
        reply_to_review(session, caller=Caller(uuid4()), text="Mine", **reply)
    other = make_course(session)
    with pytest.raises(NotFound):
        reply_to_review(session, caller=author_of(other), text="x", course_id=other.id, review_id=written["id"])
    assert reply_to_review(session, caller=author_of(course), text=None, **reply)["reply"] is None


def test_hidden_review_is_neither_listed_nor_counted(session: Session):
    course = make_course(session)
    user_id = learner_of(session, course)
    written = review(session, course, 1, user_id=user_id, text="Rude.")
    review(session, course, 5)
    moderated = {"course_id": course.id, "review_id": written["id"]}

    for _ in range(2):
        moderate_review(session, reason="Insults learners.", **moderated)
    review(session, course, 1, user_id=user_id, text="Rude again.")

    assert rating_of(session, course) == {"average": 5.0, "count": 1}
    assert [each["rating"] for each in list_reviews(session, course_id=course.id, after=None, limit=5)["items"]] == [5]
    (hidden,) = list_reviews(session, course_id=course.id, after=None, limit=5, hidden=True)["items"]
    assert (hidden["text"], hidden["hidden"]["reason"]) == ("Rude again.", "Insults learners.")
    assert show_own_review(session, user_id=user_id, course_id=course.id)["hidden"]
    assert events_of(session, user_id, course)[1:] == ["COURSE_RATED", "RATING_REMOVED"]

    assert moderate_review(session, reason=None, **moderated)["hidden"] is None
    assert rating_of(session, course) == {"average": 3.0, "count": 2}
    assert events_of(session, user_id, course)[-1] == "COURSE_RATED"


def test_deleted_hidden_review_keeps_the_next_one_hidden(session: Session):
    course = make_course(session)
    user_id = learner_of(session, course)
    written = review(session, course, 1, user_id=user_id, text="Rude.")
    review(session, course, 5)
    moderated = {"course_id": course.id, "review_id": written["id"]}
    moderate_review(session, reason="Insults learners.", **moderated)

    remove_review(session, user_id=user_id, course_id=course.id)

    with pytest.raises(NotFound):
        show_own_review(session, user_id=user_id, course_id=course.id)
    with pytest.raises(NotFound):
        remove_review(session, user_id=user_id, course_id=course.id)
    (kept,) = list_reviews(session, course_id=course.id, after=None, limit=5, hidden=True)["items"]
    assert (kept["text"], kept["hidden"]["reason"]) == ("", "Insults learners.")
    again = review(session, course, 1, user_id=user_id, text="Rude.")
    assert again["hidden"]["reason"] == "Insults learners."
    assert rating_of(session, course) == {"average": 5.0, "count": 1}
    assert events_of(session, user_id, course)[1:] == ["COURSE_RATED", "RATING_REMOVED"]


def test_review_after_a_deleted_hidden_one_is_shown_once_staff_allow_it(session: Session):
    course = make_course(session)
    user_id = learner_of(session, course)
    written = review(session, course, 1, user_id=user_id, text="Rude.")
    moderated = {"course_id": course.id, "review_id": written["id"]}
    moderate_review(session, reason="Insults learners.", **moderated)
    remove_review(session, user_id=user_id, course_id=course.id)

    moderate_review(session, reason=None, **moderated)

    assert rating_of(session, course) == {"average": None, "count": 0}
    assert review(session, course, 4, user_id=user_id, text="Polite.")["hidden"] is None
    assert rating_of(session, course) == {"average": 4.0, "count": 1}


def test_moderation_waits_for_the_learner_without_a_lock_on_the_review(database: Database):
    with session_factory("courses").begin() as session:
        course = make_course(session)
        user_id, course_id = learner_of(session, course), course.id
        review_id = review(session, course, 1, user_id=user_id)["id"]

    def hide() -> dict:
        with session_factory("courses").begin() as session:
            return moderate_review(session, course_id=course_id, review_id=review_id, reason="Rude.")

    with ThreadPoolExecutor(1) as pool:
        with session_factory("courses").begin() as session:
            Enrollment.find(session, user_id, course_id, for_update=True)
            hidden = pool.submit(hide)
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            eventually(lambda: database.value(waiting), "moderation that waits")
            session.execute(text("SET LOCAL lock_timeout = '500ms'"))
            review_course(session, user_id=user_id, course_id=course_id, rating=2, text="Changed.")
        shown = hidden.result()

    assert (shown["rating"], shown["hidden"]["reason"]) == (2, "Rude.")


def test_rating_sort_puts_best_rated_first(session: Session):
    category = make_catalogue(session, {"title": "Good"}, {"title": "Better"}, {"title": "Unknown"})
    page = {"after": None, "limit": 10, "facets": False, "total": False}
    by_title = {
        item["title"]: item["id"]
        for item in list_courses(session, filters=CatalogueFilters(category=category), sort=None, **page)["items"]
    }
    for title, rating in (("Good", 3), ("Better", 5)):
        review(session, Course.get(session, str(by_title[title])), rating)
    found = list_courses(session, filters=CatalogueFilters(category=category), sort="rating", **page)["items"]
    assert [item["title"] for item in found] == ["Better", "Good", "Unknown"]


def test_republished_course_keeps_its_rating(session: Session):
    course = make_course(session)
    review(session, course, 4)
    for task in (unpublish_course, publish_course):
        task(session, noop_cache, ref=str(course.id), caller=author_of(course))
    assert rating_of(session, course) == {"average": 4.0, "count": 1}


def test_concurrent_reviews_are_all_counted(database: Database, deliver):
    with session_factory("courses").begin() as session:
        course = make_course(session)
        learners = [learner_of(session, course) for _ in range(8)]
    message = {"course_id": course.id, "rating": 3, "text": ""}
    run_concurrently(
        *[
            lambda user_id=user_id: deliver("courses.review_course", {**message, "user_id": user_id})
            for user_id in learners
        ]
    )
    assert database.value("SELECT ratings FROM courses.catalogue") == 8
