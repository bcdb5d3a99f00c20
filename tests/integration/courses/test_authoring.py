from uuid import UUID, uuid4

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError

from models.commands.courses import Caller, PlannedSection
from models.courses.versions import CourseVersion
from models.errors import (
    CourseEmpty,
    InvalidContent,
    NotFound,
    OutlineIncomplete,
    PreconditionFailed,
    SectionNotEmpty,
)
from models.events import CoursePublished
from tests.integration.courses.factories import (
    author_of,
    fields,
    make_course,
    make_draft,
    make_lesson,
    noop_cache,
    published_events,
)
from workers.courses.authoring import (
    archive_course,
    change_course,
    create_course,
    list_own_courses,
    publish_course,
    set_prerequisites,
    unpublish_course,
)
from workers.courses.catalogue import show_course
from workers.courses.learning import enroll, show_access, show_lesson
from workers.courses.outline import (
    add_section,
    change_lesson,
    remove_lesson,
    remove_section,
    rename_section,
    reorder_outline,
)


def lesson_ids_by_title(course):
    return {lesson.title: lesson.id for lesson in course.lessons()}


def outline_of(shown):
    return {section["title"]: [lesson["title"] for lesson in section["lessons"]] for section in shown["sections"]}


def unpublish(session, course):
    unpublish_course(session, noop_cache, ref=course.slug, caller=author_of(course))


def archive(session, course):
    archive_course(session, noop_cache, ref=course.slug, caller=author_of(course), expected_version=course.version)


def test_new_course_is_draft_and_publishes_events(session):
    course = make_draft(session, lessons=0)

    assert (course.status, course.published_at) == ("draft", None)
    assert [each.type for each in published_events(session, course.id)] == ["COURSE_CREATED", "COURSE_UPDATED"]


def test_courses_with_same_title_get_different_slugs(session):
    title = f"Same title {uuid4().hex}"
    first, second = (create_course(session, instructor_id=uuid4(), fields=fields(title=title)) for _ in range(2))

    assert second["slug"] != first["slug"]
    assert second["slug"].startswith(first["slug"])


def test_change_with_stale_version_is_rejected(session):
    course = make_draft(session)
    with pytest.raises(PreconditionFailed):
        change_course(
            session,
            noop_cache,
            ref=course.slug,
            caller=author_of(course),
            expected_version=course.version - 1,
            fields={"title": "Late"},
        )


def test_change_updates_only_given_fields(session):
    course = make_draft(session, title="Before", tags=["kept"])
    changed = change_course(
        session,
        noop_cache,
        ref=course.slug,
        caller=author_of(course),
        expected_version=course.version,
        fields={"title": "After", "sequential": True},
    )

    assert (changed["title"], changed["tags"], changed["sequential"]) == ("After", ["kept"], True)


def test_commands_without_effect_publish_no_event_and_no_version(session):
    course = make_course(session, lessons=2)
    session.flush()
    section, author = course.sections[0], author_of(course)
    lessons = list(lesson_ids_by_title(course).values())
    before = (course.version, len(published_events(session, course.id)))
    on_course = {"caller": author, "expected_version": course.version}
    outline = {"course_id": course.id, **on_course}

    for same in ({}, {"title": course.title, "tags": [], "price": {"amount_minor": 4900, "currency": "USD"}}):
        change_course(session, noop_cache, ref=course.slug, fields=same, **on_course)
    set_prerequisites(session, noop_cache, prerequisites=[], sequential=False, **outline)
    rename_section(session, section_id=section.id, title=section.title, **outline)
    for same in ({}, {"title": "Lesson 1", "content": {"body": "Words."}}):
        change_lesson(session, lesson_id=lessons[0], section_id=section.id, fields=same, **outline)
    reorder_outline(session, sections=[PlannedSection(id=section.id, lessons=lessons)], **outline)
    for _ in range(2):
        publish_course(session, noop_cache, ref=course.slug, caller=author)

    assert (course.version, len(published_events(session, course.id))) == before
    assert course.published_version == 1


@pytest.mark.parametrize(
    "changed", [{"title": "After"}, {"content": {"body": "Other."}}, {"free_preview": True}], ids=str
)
def test_publishing_a_changed_lesson_makes_a_version(session, changed):
    course = make_course(session, lessons=2)
    (_, lesson_id) = lesson_ids_by_title(course).values()
    author = author_of(course)
    change_lesson(
        session,
        course_id=course.id,
        lesson_id=lesson_id,
        caller=author,
        expected_version=course.version,
        section_id=None,
        fields=changed,
    )

    publish_course(session, noop_cache, ref=course.slug, caller=author)

    assert published_events(session, course.id)[-1].payload["course_version"] == 2


def test_stale_working_copy_is_not_published(session):
    course = make_draft(session)
    author = author_of(course)

    with pytest.raises(PreconditionFailed):
        publish_course(session, noop_cache, ref=course.slug, caller=author, expected_version=course.version - 1)
    assert course.status == "draft"
    publish_course(session, noop_cache, ref=course.slug, caller=author, expected_version=course.version)
    assert course.status == "published"


def test_course_of_another_author_is_not_found(session):
    course = make_course(session)
    stranger = Caller(uuid4())

    with pytest.raises(NotFound):
        publish_course(session, noop_cache, ref=course.slug, caller=stranger)
    with pytest.raises(NotFound):
        add_section(session, course_id=course.id, caller=stranger, title="Mine")
    assert publish_course(session, noop_cache, ref=course.slug, caller=Caller(uuid4(), admin=True))


def test_course_without_lessons_cannot_be_published(session):
    course = make_draft(session, lessons=0)
    with pytest.raises(CourseEmpty):
        publish_course(session, noop_cache, ref=course.slug, caller=author_of(course))


def test_publish_event_contains_outline_and_price(session):
    course = make_course(session, lessons=2, sequential=True)
    event = published_events(session, course.id)[-1]

    assert event.type == CoursePublished.type
    assert event.payload["course_version"] == 1
    assert (event.payload["price_minor"], event.payload["currency"]) == (4900, "USD")
    assert event.payload["sequential"] is True
    (section,) = event.payload["sections"]
    assert [lesson["title"] for lesson in section["lessons"]] == ["Lesson 1", "Lesson 2"]


def test_course_event_versions_have_no_gaps(session):
    course = make_course(session)

    assert [each.aggregate_version for each in published_events(session, course.id)] == list(
        range(1, course.version + 1)
    )


def test_edits_are_visible_after_next_publish_only(session):
    course = make_course(session, title="First edition", lessons=1)
    author = author_of(course)
    before = show_course(session, ref=course.slug, caller=None)
    lesson_id = lesson_ids_by_title(course)["Lesson 1"]

    changed = change_lesson(
        session,
        course_id=course.id,
        lesson_id=lesson_id,
        caller=author,
        expected_version=course.version,
        section_id=None,
        fields={"title": "Rewritten", "content": {"body": "Better words."}, "free_preview": True},
    )
    make_lesson(session, course.id, changed["view"]["section_id"], author, title="One more")
    change_course(
        session,
        noop_cache,
        ref=course.slug,
        caller=author,
        expected_version=course.version,
        fields={"title": "Second edition"},
    )
    unpublished_edits = show_course(session, ref=course.slug, caller=None)
    assert {**unpublished_edits, "version": before["version"]} == before
    assert outline_of(show_course(session, ref=course.slug, caller=author)) == {"All of it": ["Rewritten", "One more"]}

    publish_course(session, noop_cache, ref=course.slug, caller=author)
    after = show_course(session, ref=course.slug, caller=None)
    assert (after["title"], outline_of(after)) == ("Second edition", {"All of it": ["Rewritten", "One more"]})
    assert after["published_at"] == before["published_at"]
    assert after == show_course(session, ref=course.slug, caller=author)


def test_published_version_is_immutable(session):
    course = make_course(session)
    session.flush()
    session.execute(text("SET LOCAL ROLE coursebus_courses"))

    with pytest.raises(ProgrammingError, match="permission denied"), session.begin_nested():
        session.execute(update(CourseVersion).where(CourseVersion.course_id == course.id).values(title="Forged"))
    with pytest.raises(ProgrammingError, match="permission denied"), session.begin_nested():
        session.execute(text("DELETE FROM courses.published_lessons"))


def test_published_status_requires_published_version(session):
    course = make_draft(session)
    course.status = "published"
    with pytest.raises(IntegrityError, match="ck_courses_published"):
        session.flush()


def test_unpublished_course_is_republished_as_new_version(session):
    course = make_course(session)
    author = author_of(course)
    assert unpublish_course(session, noop_cache, ref=course.slug, caller=author)["status"] == "draft"
    version = course.version
    assert unpublish_course(session, noop_cache, ref=course.slug, caller=author)["version"] == version

    shown = publish_course(session, noop_cache, ref=course.slug, caller=author)
    assert shown["status"] == "published"
    assert published_events(session, course.id)[-1].payload["course_version"] == 2


def test_archived_course_is_hidden_from_its_author(session):
    course = make_course(session)
    author = author_of(course)
    archive(session, course)

    assert published_events(session, course.id)[-1].type == "COURSE_ARCHIVED"
    assert list_own_courses(session, instructor_id=author.user_id, after=None, limit=20)["items"] == []
    with pytest.raises(NotFound):
        publish_course(session, noop_cache, ref=course.slug, caller=author)


@pytest.mark.parametrize("withdraw", [unpublish, archive])
def test_learners_keep_withdrawn_course(session, withdraw):
    course = make_course(session, price={"amount_minor": 0, "currency": "USD"})
    learner = Caller(uuid4())
    enroll(session, user_id=learner.user_id, course_id=course.id)
    lesson_id = lesson_ids_by_title(course)["Lesson 1"]

    withdraw(session, course)

    assert show_access(session, user_id=learner.user_id, course_id=course.id)["access"]
    shown = show_lesson(session, course_id=course.id, lesson_id=lesson_id, caller=learner)["view"]
    assert (shown["title"], shown["content"]) == ("Lesson 1", {"body": "Words."})
    with pytest.raises(NotFound):
        enroll(session, user_id=uuid4(), course_id=course.id)


def test_own_courses_are_paged_and_include_drafts(session):
    author = Caller(uuid4())
    slugs = [make_draft(session, author=author, lessons=0).slug for _ in range(3)]
    first = list_own_courses(session, instructor_id=author.user_id, after=None, limit=2)
    rest = list_own_courses(session, instructor_id=author.user_id, after=first["next"], limit=2)

    assert [line["slug"] for line in first["items"] + rest["items"]] == slugs[::-1]
    assert rest["next"] is None


def test_outline_is_reordered(session):
    course = make_draft(session, lessons=3)
    ids = lesson_ids_by_title(course)
    plan = [
        PlannedSection(title="Begin", lessons=[ids["Lesson 3"]]),
        PlannedSection(id=course.sections[0].id, title="Go on", lessons=[ids["Lesson 2"], ids["Lesson 1"]]),
        PlannedSection(title="To come", lessons=[]),
    ]
    reorder_outline(
        session, course_id=course.id, caller=author_of(course), expected_version=course.version, sections=plan
    )
    session.flush()
    session.expire_all()

    shown = show_course(session, ref=course.slug, caller=author_of(course))
    assert outline_of(shown) == {"Begin": ["Lesson 3"], "Go on": ["Lesson 2", "Lesson 1"], "To come": []}
    assert [section["position"] for section in shown["sections"]] == [1, 2, 3]
    assert [lesson["position"] for lesson in shown["sections"][1]["lessons"]] == [1, 2]


def test_reorder_removes_omitted_sections(session):
    course = make_draft(session, lessons=2)
    ids = lesson_ids_by_title(course)
    plan = [PlannedSection(title="Only", lessons=list(ids.values()))]
    reorder_outline(
        session, course_id=course.id, caller=author_of(course), expected_version=course.version, sections=plan
    )
    session.flush()
    session.expire_all()

    assert outline_of(show_course(session, ref=course.slug, caller=author_of(course))) == {"Only": list(ids)}


def test_reorder_requires_every_lesson_exactly_once(session):
    course = make_draft(session, lessons=2)
    first, second = lesson_ids_by_title(course).values()
    section_id = course.sections[0].id
    for wrong in (
        [PlannedSection(id=section_id, lessons=[first])],
        [PlannedSection(id=section_id, lessons=[first, second, first])],
        [PlannedSection(id=section_id, lessons=[first, second]), PlannedSection(id=section_id, lessons=[])],
    ):
        with pytest.raises(OutlineIncomplete):
            course.reorder_outline(wrong)
    with pytest.raises(NotFound):
        course.reorder_outline([PlannedSection(id=section_id, lessons=[first, second, uuid4()])])
    with pytest.raises(NotFound):
        course.reorder_outline([PlannedSection(id=uuid4(), lessons=[first, second])])


def test_only_empty_section_can_be_removed(session):
    course = make_draft(session, lessons=1)
    author = author_of(course)
    (lesson_id,) = lesson_ids_by_title(course).values()
    section_id = course.sections[0].id

    with pytest.raises(SectionNotEmpty):
        remove_section(
            session, course_id=course.id, section_id=section_id, caller=author, expected_version=course.version
        )
    remove_lesson(session, course_id=course.id, lesson_id=lesson_id, caller=author, expected_version=course.version)
    remove_section(session, course_id=course.id, section_id=section_id, caller=author, expected_version=course.version)
    session.flush()
    session.expire_all()
    assert show_course(session, ref=course.slug, caller=author)["sections"] == []


def test_lesson_moves_to_end_of_other_section(session):
    course = make_draft(session, lessons=2)
    author = author_of(course)
    other = add_section(session, course_id=course.id, caller=author, title="Other")["view"]
    rename_section(
        session,
        course_id=course.id,
        section_id=UUID(other["id"]),
        caller=author,
        expected_version=course.version,
        title="Elsewhere",
    )
    moved = change_lesson(
        session,
        course_id=course.id,
        lesson_id=lesson_ids_by_title(course)["Lesson 1"],
        caller=author,
        expected_version=course.version,
        section_id=UUID(other["id"]),
        fields={},
    )
    session.flush()
    session.expire_all()

    assert moved["view"]["section_id"] == other["id"]
    shown = show_course(session, ref=course.slug, caller=author)
    assert outline_of(shown) == {"All of it": ["Lesson 2"], "Elsewhere": ["Lesson 1"]}
    assert shown["sections"][0]["lessons"][0]["position"] == 1


def test_lesson_content_must_match_its_kind(session):
    course = make_draft(session, lessons=1)
    with pytest.raises(InvalidContent):
        make_lesson(session, course.id, str(course.sections[0].id), author_of(course), kind="video")
    with pytest.raises(InvalidContent):
        change_lesson(
            session,
            course_id=course.id,
            lesson_id=lesson_ids_by_title(course)["Lesson 1"],
            caller=author_of(course),
            expected_version=course.version,
            section_id=None,
            fields={"kind": "quiz"},
        )


def test_author_sees_draft_lesson_with_correct_answers(session):
    course = make_draft(session, lessons=0)
    question = {"id": "q", "text": "?", "multiple": False, "correct": ["a"], "options": [{"id": "a", "text": "A"}]}
    section = add_section(session, course_id=course.id, caller=author_of(course), title="Quiz")["view"]
    content = {"questions": [question]}
    lesson = make_lesson(session, course.id, section["id"], author_of(course), kind="quiz", content=content)

    shown = show_lesson(session, course_id=course.id, lesson_id=UUID(lesson["id"]), caller=author_of(course))
    assert shown == {"version": course.version, "view": {**lesson, "content": content}}
