"""Several instructors of a course: one owner, and editors."""

from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from models.commands.courses import Caller, CatalogueFilters, LearnerFilters
from models.courses.course import Course
from models.errors import NotCourseOwner, NotFound, PreconditionFailed
from models.events import UserDeleted
from tests.integration.courses.factories import author_of, make_course, make_lesson, published_events
from tests.support.events import build_event
from tests.support.tasks import noop_cache
from workers.courses.authoring import (
    archive_course,
    list_own_courses,
    publish_course,
    set_instructors,
    unarchive_course,
)
from workers.courses.catalogue import list_courses, show_course
from workers.courses.learners import list_learners
from workers.courses.personal_data import erase_data


def choose(session: Session, course: Course, caller: Caller, *editors: Caller, owner: Caller | None = None) -> dict:
    return set_instructors(
        session, noop_cache, course_id=course.id, caller=caller, expected_version=course.version,
        owner_id=owner and owner.user_id, editor_ids=[each.user_id for each in editors],
    )  # fmt: skip


def courses_of(session: Session, user: Caller) -> list[object]:
    filters = CatalogueFilters(instructor_id=user.user_id)
    found = list_courses(session, filters=filters, sort=None, after=None, limit=5, facets=False, total=False)
    return [each["id"] for each in found["items"]]


def test_editor_changes_and_publishes_but_does_not_own(session: Session):
    course, editor = make_course(session), Caller(uuid4())
    shown = choose(session, course, author_of(course), editor)
    assert shown["editor_ids"] == [editor.user_id]

    make_lesson(session, course.id, str(course.sections[0].id), editor)
    assert publish_course(session, noop_cache, ref=course.slug, caller=editor)["lessons_total"] == 4
    assert show_course(session, ref=course.slug, caller=editor)["version"] == course.version
    everyone = {"course_id": course.id, "filters": LearnerFilters(), "limit": 5}
    assert list_learners(session, lambda _ids: None, caller=editor, **everyone)["items"] == []
    listed = list_own_courses(session, instructor_id=editor.user_id, after=None, limit=5)["items"]
    assert [each["id"] for each in listed] == [course.id]
    assert courses_of(session, editor) == [course.id]

    versioned = {"ref": course.slug, "caller": editor, "expected_version": course.version}
    with pytest.raises(NotCourseOwner):
        archive_course(session, noop_cache, **versioned)
    with pytest.raises(NotCourseOwner):
        choose(session, course, editor, editor)
    archive_course(session, noop_cache, **versioned | {"caller": author_of(course)})
    with pytest.raises(NotCourseOwner):
        unarchive_course(session, noop_cache, ref=course.slug, caller=editor)


def test_removed_editor_has_no_rights(session: Session):
    course, editor = make_course(session), Caller(uuid4())
    choose(session, course, author_of(course), editor)
    choose(session, course, author_of(course))

    with pytest.raises(NotFound):
        publish_course(session, noop_cache, ref=course.slug, caller=editor)
    with pytest.raises(NotFound):
        choose(session, course, Caller(uuid4()))
    assert courses_of(session, editor) == []


def test_editor_removes_only_themselves(session: Session):
    course, editor, other = make_course(session), Caller(uuid4()), Caller(uuid4())
    choose(session, course, author_of(course), editor, other)
    for editors, owner in (([editor], None), ([editor, other, Caller(uuid4())], None), ([], None), ([other], editor)):
        with pytest.raises(NotCourseOwner):
            choose(session, course, editor, *editors, owner=owner)

    shown = choose(session, course, editor, other)

    assert shown["editor_ids"] == [other.user_id]
    with pytest.raises(NotFound):
        choose(session, course, editor, other)


def test_course_is_given_to_another_owner(session: Session):
    course, new = make_course(session), Caller(uuid4())
    old = author_of(course)

    shown = choose(session, course, old, old, new, owner=new)

    assert (shown["instructor_id"], shown["editor_ids"]) == (new.user_id, [old.user_id])
    assert courses_of(session, new) == courses_of(session, old) == [course.id]
    assert published_events(session, course.id)[-1].type == "COURSE_UPDATED"
    with pytest.raises(NotCourseOwner):
        choose(session, course, old, owner=old)
    with pytest.raises(PreconditionFailed):
        course.require_version(1)


def test_erased_editor_is_removed(session: Session):
    course, editor, other = make_course(session), Caller(uuid4()), Caller(uuid4())
    choose(session, course, author_of(course), editor, other)

    erase_data(session, event=build_event(UserDeleted, user_id=editor.user_id))

    session.refresh(course)
    assert course.editor_ids == [other.user_id]
