"""Commands and queries of authors on whole courses."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.cache import CATALOGUE_VERSION_KEY, CachedView, course_key, invalidation_marker
from core.db import new_id, utc_now
from models.commands.courses import Caller, CourseCursor, CourseFields
from models.courses.catalogue import CatalogueEntry
from models.courses.course import Course
from models.courses.enrollments import Enrollment
from models.courses.files import File, files_of_all
from models.courses.learners import count_by_progress
from models.courses.publishing import check_publishable, list_errors, require_no_cycle, require_not_required
from models.courses.reviews import Rating
from models.courses.slugs import Slug, flush_slug
from models.courses.transliteration import slug_of
from models.courses.versions import CourseVersion
from models.errors import SlugTaken
from models.events import EventPayload
from workers import task
from workers.runtime.dependencies import CacheAfterCommit

from .files import cover_url


@task
def create_course(session: Session, *, instructor_id: UUID, fields: CourseFields) -> dict[str, Any]:
    """Create a course as a draft, which only its author and admins see. Raises SlugTaken for a given slug."""
    course = new_course(fields, instructor_id=instructor_id)
    add_course(session, course, has_given_slug="slug" in fields)
    return course.to_response()


def new_course(fields: CourseFields, *, instructor_id: UUID) -> Course:
    """Return a new draft, which ``add_course`` stores. Without a slug in the fields it is made of the title."""
    return Course.create(fields, id=new_id(), slug=slug_of(fields["title"]), instructor_id=instructor_id, at=utc_now())


def add_course(session: Session, course: Course, *, has_given_slug: bool = False) -> None:
    """Store a new course and record its event. Raises SlugTaken for a given slug; another one is made unique."""
    try:
        with session.begin_nested():
            session.add(course)
            flush_slug(session, course.slug)
    except SlugTaken:
        if has_given_slug:
            raise
        course.slug = f"{course.slug}-{course.id.hex[-8:]}"
        session.add(course)
    record(session, course, course.created_event())


@task
def list_own_courses(
    session: Session, *, instructor_id: UUID, after: CourseCursor | None, limit: int, status: str | None = None
) -> dict[str, Any]:
    """Return a page of an instructor's courses, drafts included, the newest first: {"items", "next"}.

    Without a ``status``, all that are not archived.
    """
    courses, following = Course.list_page(session, instructor_id, after, limit, status=status)
    return {"items": [course.to_list_item() for course in courses], "next": following}


@task
def check_course_editable(session: Session, *, ref: str, caller: Caller) -> None:
    """Check that the caller may change the course. Raises NotFound."""
    Course.get_for_update(session, ref, caller)


@task
def change_course(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    ref: str,
    caller: Caller,
    expected_version: int,
    fields: CourseFields,
) -> dict[str, Any]:
    """Change fields of a course. A new price or slug takes effect at once, other fields with the next publication.

    Values that are equal to the present ones cause no event and no new version. Raises NotFound, PreconditionFailed,
    SlugTaken.
    """
    course = Course.get_for_update(session, ref, caller)
    course.require_version(expected_version)
    if "cover_file_id" in fields:
        fields["cover_url"] = cover_url(session, course, fields["cover_file_id"])
    course.change(fields)
    if not course.is_modified:
        return course.to_response()
    flush_slug(session, course.slug)
    if course.on_sale:
        CatalogueEntry.update_offer(session, course)
    record(session, course, course.updated_event(at=utc_now()))
    _invalidate_cache(session, cache_after_commit, course)
    return course.to_response()


@task
def set_prerequisites(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    course_id: UUID,
    caller: Caller,
    expected_version: int,
    prerequisites: list[UUID],
    sequential: bool | None,
) -> dict[str, Any]:
    """Set the required courses, and whether lessons must be completed in order; effective with the next publication.

    Raises NotFound (also for a prerequisite that was never published), PreconditionFailed, SelfPrerequisite,
    PrerequisiteCycle.
    """
    course = Course.get_for_update(session, str(course_id), caller)
    course.require_version(expected_version)
    Course.require_existing(session, prerequisites)
    course.set_prerequisites(prerequisites)
    if sequential is not None:
        course.sequential = sequential
    if not course.is_modified:
        return course.to_response()
    require_no_cycle(session, course.id, prerequisites)
    record(session, course, course.updated_event(at=utc_now()))
    _invalidate_cache(session, cache_after_commit, course)
    return course.to_response()


@task
def set_instructors(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    course_id: UUID,
    caller: Caller,
    expected_version: int,
    owner_id: UUID | None,
    editor_ids: list[UUID],
) -> dict[str, Any]:
    """Replace the owner, if one is given, and the editors of a course; effective at once.

    Editors may remove themselves, and nothing else.

    Raises NotFound, PreconditionFailed, NotCourseOwner.
    """
    course = Course.get_for_update(session, str(course_id), caller)
    course.require_version(expected_version)
    owner_id = owner_id or course.instructor_id
    course.require_instructors_change(caller, owner_id, editor_ids)
    course.set_instructors(owner_id, editor_ids)
    if course.is_modified:
        if course.on_sale:
            CatalogueEntry.update_offer(session, course)
        record(session, course, course.updated_event(at=utc_now()))
        _invalidate_cache(session, cache_after_commit, course)
    return course.to_response()


@task
def archive_course(
    session: Session, cache_after_commit: CacheAfterCommit, *, ref: str, caller: Caller, expected_version: int
) -> dict[str, Any]:
    """Remove a course from sale and from its author's list. Learners who have access keep it.

    Raises NotFound, PreconditionFailed, NotCourseOwner, PrerequisiteOfCourses.
    """
    course = Course.get_for_update(session, ref, caller)
    course.require_version(expected_version)
    course.require_owner(caller)
    require_not_required(session, course.id)
    course.archive()
    CatalogueEntry.remove(session, course)
    record(session, course, course.archived_event(at=utc_now()))
    _invalidate_cache(session, cache_after_commit, course)
    return course.to_response()


@task
def unarchive_course(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    ref: str,
    caller: Caller,
    expected_version: int | None = None,
) -> dict[str, Any]:
    """Return an archived course to its author, as a draft; do nothing if it is not archived.

    Raises NotFound, PreconditionFailed, NotCourseOwner.
    """
    course = Course.get_for_update(session, ref, caller, archived=True)
    if expected_version is not None:
        course.require_version(expected_version)
    course.require_owner(caller)
    course.unarchive()
    if course.is_modified:
        record(session, course, course.updated_event(at=utc_now()))
        _invalidate_cache(session, cache_after_commit, course)
    return course.to_response()


@task
def publish_course(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    ref: str,
    caller: Caller,
    expected_version: int | None = None,
    learners: str = "keep",
) -> dict[str, Any]:
    """Publish the working copy as an immutable version and put it on sale; do nothing if it equals the one on sale.

    ``learners`` is "move" to move those of older versions to this one, also if it is on sale already. Raises NotFound,
    PreconditionFailed, CourseEmpty, CourseNotPublishable.
    """
    course = Course.get_for_update(session, ref, caller, contents=True)
    if expected_version is not None:
        course.require_version(expected_version)
    publish(session, course, learners=learners)
    _invalidate_cache(session, cache_after_commit, course)
    return course.to_response()


@task
def preview_publication(session: Session, *, ref: str, caller: Caller) -> dict[str, Any]:
    """Return the changes of a publication, the learners that it concerns, and the errors that prevent it.

    Raises NotFound.
    """
    course = Course.get_for_update(session, ref, caller, contents=True)
    on_sale = CourseVersion.find_latest(session, course.id)
    before = set(on_sale.lesson_ids()) if on_sale else set()
    after = {str(lesson.id) for lesson in course.lessons()}
    return {
        "course_version": (course.published_version or 0) + (0 if _is_unchanged(session, course) else 1),
        "lessons_added": len(after - before),
        "lessons_removed": len(before - after),
        "learners": count_by_progress(session, course.id),
        "errors": list_errors(session, course),
    }


@task
def unpublish_course(
    session: Session, cache_after_commit: CacheAfterCommit, *, ref: str, caller: Caller
) -> dict[str, Any]:
    """Remove a course from sale; do nothing if it is not on sale. Raises NotFound."""
    course = Course.get_for_update(session, ref, caller)
    if course.on_sale:
        course.unpublish()
        CatalogueEntry.remove(session, course)
        record(session, course, course.updated_event(at=utc_now()))
        _invalidate_cache(session, cache_after_commit, course)
    return course.to_response()


@task
def invalidate_course_cache(session: Session, cache_after_commit: CacheAfterCommit, *, event: EventPayload) -> None:
    """Invalidate the cache entries of a changed course again: the invalidation after its commit may be lost."""
    if course := session.get(Course, UUID(event["course_id"])):
        _invalidate_cache(session, cache_after_commit, course)


def publish(session: Session, course: Course, *, learners: str = "keep") -> None:
    """Publish a course that this transaction locked or created, with the contents of its lessons loaded.

    Raises CourseEmpty, CourseNotPublishable.
    """
    if _is_unchanged(session, course):
        if learners == "move":
            record(
                session, course, CourseVersion.get_latest(session, course.id).published_event(course, learners=learners)
            )
        return
    at = utc_now()
    course.publish(at=at)
    check_publishable(session, course)
    version = CourseVersion.create(course, at=at)
    session.add(version)
    enrolled = session.scalars(select(func.count()).where(Enrollment.course_id == course.id)).one()
    CatalogueEntry.upsert(session, course, version, learners=enrolled, rating=Rating.calculate(session, course.id))
    File.keep(session, files_of_all(lesson.to_dict() for lesson in course.lessons()), at=at)
    record(session, course, version.published_event(course, learners=learners))


def _is_unchanged(session: Session, course: Course) -> bool:
    """Return whether the working copy equals the version on sale."""
    if not course.on_sale or course.published_version is None:
        return False
    return CourseVersion.get_by_version(session, course.id, course.published_version).equals(course)


def _invalidate_cache(session: Session, cache_after_commit: CacheAfterCommit, course: Course) -> None:
    """Invalidate the cached course, by id and by each of its slugs, and all catalogue pages after the commit."""
    for ref in (str(course.id), *Slug.list_for_course(session, course.id)):
        cache_after_commit(course_key(ref), CachedView(course.version, b""))
    cache_after_commit(CATALOGUE_VERSION_KEY, invalidation_marker)
