"""Versions of a course, and restoring an earlier one."""

from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from models.commands.courses import Caller
from models.courses.course import Course
from models.errors import CourseNotPublishable, NotFound, PreconditionFailed, PrerequisiteCycle, SelfPrerequisite
from tests.integration.courses.factories import author_of, make_course, make_draft, make_lesson
from tests.support.tasks import noop_cache
from workers.courses.authoring import change_course, publish_course, set_prerequisites, unpublish_course
from workers.courses.outline import remove_lesson
from workers.courses.versions import list_versions, restore_version


def edit_course(session: Session, course: Course) -> None:
    """Change the title, remove the first lesson and add a new one."""
    caller, versioned = author_of(course), {"expected_version": course.version}
    change_course(session, noop_cache, ref=str(course.id), caller=caller, **versioned, fields={"title": "Another"})
    first = next(course.lessons()).id
    remove_lesson(session, course_id=course.id, lesson_id=first, caller=caller, expected_version=course.version)
    make_lesson(session, course.id, str(course.sections[0].id), caller, title="New")


def test_restored_version_keeps_original_ids(session: Session):
    course = make_course(session, lessons=2)
    caller = author_of(course)
    before = course.to_response()
    edit_course(session, course)
    publish_course(session, noop_cache, ref=str(course.id), caller=caller)
    assert course.to_response()["sections"] != before["sections"]

    restored = restore_version(
        session, ref=str(course.id), caller=caller, expected_version=course.version, course_version=1
    )
    session.flush()
    session.expire_all()
    assert (restored["title"], restored["sections"]) == (before["title"], before["sections"])
    again = Course.get_for_update(session, str(course.id), caller, contents=True)
    assert again.outline() == before["sections"]
    assert [lesson.content for lesson in again.lessons()] == [{"body": "Words."}] * 2

    # The restored draft goes on sale with its publication, as a new version.
    publish_course(session, noop_cache, ref=str(course.id), caller=caller)
    versions = list_versions(session, ref=str(course.id), caller=caller, after=None, limit=20)["items"]
    assert [(each["course_version"], each["title"] == before["title"], each["on_sale"]) for each in versions] == [
        (3, True, True),
        (2, False, False),
        (1, True, False),
    ]


def test_version_history_is_restricted_to_author(session: Session):
    course = make_course(session)
    stranger = Caller(uuid4())
    with pytest.raises(NotFound):
        list_versions(session, ref=str(course.id), caller=stranger, after=None, limit=20)
    with pytest.raises(NotFound):
        restore_version(session, ref=str(course.id), caller=stranger, expected_version=course.version, course_version=1)
    with pytest.raises(NotFound):
        restore_version(
            session, ref=str(course.id), caller=author_of(course), expected_version=course.version, course_version=2
        )


def test_prerequisites_must_be_existing_other_courses(session: Session):
    course, other = make_course(session), make_course(session)

    def require(*course_ids, version=None):
        rules = {"prerequisites": list(course_ids), "sequential": True, "expected_version": version or course.version}
        return set_prerequisites(session, noop_cache, course_id=course.id, caller=author_of(course), **rules)

    with pytest.raises(NotFound):
        require(uuid4())
    with pytest.raises(SelfPrerequisite):
        require(course.id)
    with pytest.raises(PreconditionFailed):
        require(other.id, version=1)
    view = require(other.id)
    assert (view["prerequisites"], view["sequential"]) == ([other.id], True)


def add_prerequisites(session: Session, course: Course, *others: Course) -> None:
    course = Course.get_for_update(session, str(course.id), author_of(course))
    rules = {"prerequisites": [each.id for each in others], "sequential": None, "expected_version": course.version}
    set_prerequisites(session, noop_cache, course_id=course.id, caller=author_of(course), **rules)


def republish(session: Session, course: Course) -> None:
    publish_course(session, noop_cache, ref=str(course.id), caller=author_of(course))


def test_prerequisite_cycle_is_rejected(session: Session):
    first, second, third = (make_course(session) for _ in range(3))
    add_prerequisites(session, first, second)
    add_prerequisites(session, second, third)

    with pytest.raises(PrerequisiteCycle, match=str(first.id)):
        add_prerequisites(session, third, first)


def test_cycle_of_published_versions_is_rejected_despite_draft(session: Session):
    first, second = make_course(session), make_course(session)
    add_prerequisites(session, first, second)
    republish(session, first)
    add_prerequisites(session, first)

    with pytest.raises(PrerequisiteCycle):
        add_prerequisites(session, second, first)


def test_publish_error_lists_all_completion_obstacles(session: Session):
    withdrawn = make_course(session)
    course = make_draft(session, lessons=1)
    section_id = str(course.sections[0].id)
    caller = author_of(course)
    score = {"completion": {"rule": "min_score", "min_score_percent": 50}}
    make_lesson(session, course.id, section_id, caller, **score)
    make_lesson(session, course.id, section_id, caller, completion={"rule": "viewed"}, duration_seconds=None)
    same = {"id": "one", "text": "?", "options": [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}], "correct": ["a"]}
    make_lesson(session, course.id, section_id, caller, kind="quiz", content={"questions": [same, same]})
    add_prerequisites(session, course, withdrawn)
    unpublish_course(session, noop_cache, ref=str(withdrawn.id), caller=author_of(withdrawn))

    with pytest.raises(CourseNotPublishable) as refused:
        republish(session, course)

    assert [fault["pointer"] for fault in refused.value.errors] == [
        "/sections/0/lessons/1/completion/rule",
        "/sections/0/lessons/2/duration_seconds",
        "/sections/0/lessons/3/content/questions",
        "/prerequisites/0",
    ]
