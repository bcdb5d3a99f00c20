"""Slugs that change, the archive, duplicates, and courses as documents."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from core.cache import course_key
from core.db import session_factory
from models.commands.courses import Caller, CatalogueFilters
from models.courses.course import Course
from models.errors import (
    CourseNotImportable,
    NotFound,
    PreconditionFailed,
    PrerequisiteOfCourses,
    SlugTaken,
)
from tests.integration.courses.factories import (
    author_of,
    fields,
    make_course,
    make_draft,
    make_lesson,
    published_events,
)
from tests.support.databases import Database
from tests.support.polling import run_concurrently
from tests.support.tasks import noop_cache
from workers.courses.authoring import (
    archive_course,
    change_course,
    create_course,
    list_own_courses,
    publish_course,
    set_prerequisites,
    unarchive_course,
)
from workers.courses.catalogue import list_courses, show_course
from workers.courses.copies import duplicate_course, export_course, import_course
from workers.courses.learning import enroll, show_access


def slug() -> str:
    return f"a-{uuid4().hex[:12]}"


def rename(session: Session, course: Course, new: str, cache=noop_cache) -> dict[str, Any]:
    caller, expected_version = author_of(course), course.version
    return change_course(
        session, cache, ref=course.slug, caller=caller, expected_version=expected_version, fields={"slug": new}
    )


def archive(session: Session, course: Course) -> None:
    archive_course(session, noop_cache, ref=course.slug, caller=author_of(course), expected_version=course.version)


def require(session: Session, course: Course, *others: UUID) -> None:
    rules = {"prerequisites": list(others), "sequential": None, "expected_version": course.version}
    set_prerequisites(session, noop_cache, course_id=course.id, caller=author_of(course), **rules)
    publish_course(session, noop_cache, ref=course.slug, caller=author_of(course))


def test_former_slugs_keep_leading_to_the_course(session: Session):
    course = make_course(session)
    first, second = course.slug, slug()

    rename(session, course, second)
    third = rename(session, course, slug())["slug"]

    for ref in (first, second, third):
        shown = show_course(session, ref=ref, caller=None)
        assert (shown["id"], shown["slug"]) == (course.id, third)
    filters = CatalogueFilters(instructor_id=course.instructor_id)
    listed = list_courses(session, filters=filters, sort=None, after=None, limit=1, facets=False, total=False)
    assert listed["items"][0]["slug"] == third
    assert published_events(session, course.id)[-1].payload["slug"] == third
    assert rename(session, course, first)["slug"] == first  # a course may take its former slug again


def test_slug_that_another_course_had_is_taken(session: Session):
    course, other = make_course(session), make_draft(session)
    former = course.slug
    present = rename(session, course, slug())["slug"]

    for taken in (former, present):
        with pytest.raises(SlugTaken), session.begin_nested():
            rename(session, other, taken)
        session.refresh(other)
        with pytest.raises(SlugTaken), session.begin_nested():
            create_course(session, instructor_id=uuid4(), fields=fields(slug=taken))
    made = create_course(session, instructor_id=uuid4(), fields=fields(title=former))
    assert made["slug"].startswith(f"{former}-")


def test_concurrent_courses_never_share_a_slug(database: Database, deliver):
    wanted = slug()
    with session_factory("courses").begin() as session:
        courses = [make_draft(session, lessons=0) for _ in range(4)]
    messages = [
        {
            "ref": str(course.id),
            "caller": {"user_id": course.instructor_id},
            "expected_version": course.version,
            "fields": {"slug": wanted},
        }
        for course in courses
    ]

    replies = run_concurrently(
        *[lambda message=message: deliver("courses.change_course", message) for message in messages]
    )

    assert sorted(reply.get("error", {}).get("code", "") for reply in replies) == ["", *["slug_taken"] * 3]
    assert sum(slug == wanted for (slug,) in database.rows("SELECT slug FROM courses.courses")) == 1


def test_change_invalidates_the_course_under_each_of_its_slugs(session: Session):
    course = make_course(session)
    first, cached = course.slug, {}

    second = rename(session, course, slug(), cached.__setitem__)["slug"]

    assert {course_key(ref) for ref in (first, second, course.id)} <= cached.keys()


def test_archived_course_returns_as_draft(session: Session):
    course = make_course(session, price={"amount_minor": 0, "currency": "USD"})
    author, learner_id = author_of(course), uuid4()
    enroll(session, user_id=learner_id, course_id=course.id)
    archive(session, course)
    listed = list_own_courses(session, instructor_id=author.user_id, after=None, limit=5, status="archived")["items"]
    assert [each["id"] for each in listed] == [course.id]

    with pytest.raises(NotFound):
        unarchive_course(session, noop_cache, ref=course.slug, caller=Caller(uuid4()))
    with pytest.raises(PreconditionFailed):
        unarchive_course(session, noop_cache, ref=course.slug, caller=author, expected_version=1)
    shown = unarchive_course(session, noop_cache, ref=course.slug, caller=author, expected_version=course.version)
    again = unarchive_course(session, noop_cache, ref=course.slug, caller=author)

    assert (shown["status"], again["version"]) == ("draft", shown["version"])
    assert published_events(session, course.id)[-1].payload["on_sale"] is False
    assert publish_course(session, noop_cache, ref=course.slug, caller=author)["status"] == "published"
    assert show_access(session, user_id=learner_id, course_id=course.id)["access"]


def test_prerequisite_of_a_course_on_sale_is_not_archived(session: Session):
    required, course = make_course(session), make_course(session)
    require(session, course, required.id)

    with pytest.raises(PrerequisiteOfCourses, match=course.slug):
        archive(session, required)
    require(session, course)  # the version on sale decides, not the draft
    archive(session, required)

    assert required.status == "archived"


def test_duplicate_is_a_draft_of_the_caller_with_new_ids(session: Session):
    course, required = make_course(session, lessons=2, tags=["one"], sequential=True), make_course(session)
    require(session, course, required.id)
    caller = Caller(uuid4(), admin=True)

    copy = duplicate_course(session, ref=course.slug, caller=caller, title="The copy")

    assert (copy["title"], copy["status"], copy["instructor_id"]) == ("The copy", "draft", caller.user_id)
    assert (copy["prerequisites"], copy["tags"], copy["sequential"]) == ([required.id], ["one"], True)
    ids = {lesson.id for lesson in course.lessons()}
    copied = Course.get_for_update(session, str(copy["id"]), caller, contents=True)
    assert [(each.title, each.content) for each in copied.lessons()] == [
        (f"Lesson {number}", {"body": "Words."}) for number in (1, 2)
    ]
    assert not ids & {each.id for each in copied.lessons()}
    with pytest.raises(NotFound):
        duplicate_course(session, ref=course.slug, caller=Caller(uuid4()))


def test_document_survives_export_and_import_unchanged(session: Session):
    course, required = make_draft(session, cover_url="https://c.test/1.png"), make_course(session)
    author, section_id = author_of(course), str(course.sections[0].id)
    questions = [
        {"id": "q", "text": "?", "options": [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}], "correct": ["b"]}
    ]
    rules = {"completion": {"rule": "min_score", "min_score_percent": 60}, "unlock": {"after_days": 3}}
    make_lesson(session, course.id, section_id, author, kind="quiz", content={"questions": questions}, **rules)
    make_lesson(session, course.id, section_id, author, kind="video", content={"url": "https://v.test/1"})
    course = Course.get_for_update(session, str(course.id), author)
    rules = {"prerequisites": [required.id], "sequential": True, "expected_version": course.version}
    set_prerequisites(session, noop_cache, course_id=course.id, caller=author, **rules)

    document = export_course(session, ref=course.slug, caller=author)
    imported = import_course(session, instructor_id=author.user_id, document=document)

    assert imported["id"] != course.id
    assert [each.type for each in published_events(session, imported["id"])] == ["COURSE_CREATED"]
    assert export_course(session, ref=str(imported["id"]), caller=author) == document


def test_import_lists_all_errors_and_creates_nothing(session: Session):
    author = Caller(uuid4())
    bad = {"title": "Bad", "kind": "video", "content": {"body": "No video."}}
    good = {"title": "Good", "kind": "text", "content": {"body": "Words."}}
    document = {
        "format": "coursebus-course/1",
        "course": fields(),
        "prerequisites": [slug()],
        "sections": [{"title": "One", "lessons": [good]}, {"title": "Two", "lessons": [good, bad]}],
    }

    with pytest.raises(CourseNotImportable) as refused, session.begin_nested():
        import_course(session, instructor_id=author.user_id, document=document)

    pointers = [each["pointer"] for each in refused.value.errors]
    assert pointers == ["/prerequisites/0", "/sections/1/lessons/1/content"]
    assert list_own_courses(session, instructor_id=author.user_id, after=None, limit=5)["items"] == []
