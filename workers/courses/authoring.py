"""Commands and queries of authors on whole courses."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.base import new_id, now
from models.cache import CATALOGUE, Stored, changed, course_key
from models.courses.catalogue import CatalogueEntry
from models.courses.course import Caller, Course, CourseFields, CoursePosition
from models.courses.enrollments import Enrollment
from models.courses.publishing import check_publishable, refuse_cycle
from models.courses.reviews import Rating
from models.courses.spelling import slug_of
from models.courses.versions import CourseVersion
from models.events import AnyEvent
from models.outbox import record
from workers import task
from workers.resources import Remember


@task
def create_course(session: Session, *, instructor_id: UUID, fields: CourseFields) -> dict[str, Any]:
    """Create a course as a draft, which only its author and admins see."""
    course = Course.draft(fields, id=new_id(), slug=slug_of(fields["title"]), instructor_id=instructor_id, at=now())
    try:
        with session.begin_nested():
            session.add(course)
    except IntegrityError:  # the slug is taken; a suffix from the id makes it unique
        course.slug = f"{course.slug}-{course.id.hex[-8:]}"
        session.add(course)
    record(session, course, course.created())
    return course.view()


@task
def list_own_courses(
    session: Session, *, instructor_id: UUID, after: CoursePosition | None, limit: int
) -> dict[str, Any]:
    """Return a page of an instructor's courses, drafts included, the newest first: {"items", "next"}."""
    courses, following = Course.page_of(session, instructor_id, after, limit)
    return {"items": [course.line() for course in courses], "next": following}


@task
def find_own_course(session: Session, *, ref: str, caller: Caller) -> None:
    """Check that the caller may change the course. Raises NotFound."""
    Course.own(session, ref, caller)


@task
def change_course(
    session: Session, remember: Remember, *, ref: str, caller: Caller, expected_version: int, fields: CourseFields
) -> dict[str, Any]:
    """Change fields of a course. A new price takes effect at once, other fields with the next publication.

    Raises NotFound, PreconditionFailed.
    """
    course = Course.own(session, ref, caller)
    course.expect(expected_version)
    course.change(fields)
    if course.on_sale:
        CatalogueEntry.reprice(session, course)
    record(session, course, course.updated(at=now()))
    _forget(remember, course)
    return course.view()


@task
def set_prerequisites(
    session: Session,
    remember: Remember,
    *,
    course_id: UUID,
    caller: Caller,
    expected_version: int,
    prerequisites: list[UUID],
    sequential: bool | None,
) -> dict[str, Any]:
    """Set the required courses, and whether lessons must be completed in order; effective with the next publication.

    Raises NotFound (also for a prerequisite that was never published), PreconditionFailed, OwnPrerequisite,
    PrerequisiteCycle.
    """
    course = Course.own(session, str(course_id), caller)
    course.expect(expected_version)
    Course.expect_all(session, prerequisites)
    course.require(prerequisites)
    refuse_cycle(session, course.id, prerequisites)
    if sequential is not None:
        course.sequential = sequential
    record(session, course, course.updated(at=now()))
    _forget(remember, course)
    return course.view()


@task
def archive_course(
    session: Session, remember: Remember, *, ref: str, caller: Caller, expected_version: int
) -> dict[str, Any]:
    """Remove a course from sale and from its author's list. Learners who have access keep it.

    Raises NotFound, PreconditionFailed.
    """
    course = Course.own(session, ref, caller)
    course.expect(expected_version)
    course.archive()
    CatalogueEntry.withdraw(session, course)
    record(session, course, course.archived(at=now()))
    _forget(remember, course)
    return course.view()


@task
def publish_course(session: Session, remember: Remember, *, ref: str, caller: Caller) -> dict[str, Any]:
    """Publish the working copy as an immutable version and put it on sale.

    Raises NotFound, CourseEmpty, CourseNotPublishable.
    """
    course = Course.own(session, ref, caller, contents=True)
    publish(session, course)
    _forget(remember, course)
    return course.view()


@task
def unpublish_course(session: Session, remember: Remember, *, ref: str, caller: Caller) -> dict[str, Any]:
    """Remove a course from sale; do nothing if it is not on sale. Raises NotFound."""
    course = Course.own(session, ref, caller)
    if course.on_sale:
        course.withdraw()
        CatalogueEntry.withdraw(session, course)
        record(session, course, course.updated(at=now()))
        _forget(remember, course)
    return course.view()


@task
def outdate_course(session: Session, remember: Remember, *, event: AnyEvent) -> None:
    """Invalidate the cache entries of a changed course again: the invalidation after its commit may be lost."""
    if course := session.get(Course, UUID(event["course_id"])):
        _forget(remember, course)


def publish(session: Session, course: Course) -> None:
    """Publish a course that this transaction locked or created, with the contents of its lessons loaded.

    Raises CourseEmpty, CourseNotPublishable.
    """
    at = now()
    course.publish(at=at)
    check_publishable(session, course)
    version = CourseVersion.of(course, at=at)
    session.add(version)
    learners = session.scalars(select(func.count()).where(Enrollment.course_id == course.id)).one()
    CatalogueEntry.offer(session, course, version, learners=learners, rating=Rating.of(session, course.id))
    record(session, course, version.published(course))


def _forget(remember: Remember, course: Course) -> None:
    """Invalidate the cached course, by id and by slug, and all catalogue pages after the commit."""
    for ref in (course.id, course.slug):
        remember(course_key(ref), Stored(course.version, b""))
    remember(CATALOGUE, changed)
