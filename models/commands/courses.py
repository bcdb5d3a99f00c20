"""Commands of the courses service."""

from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

import msgspec

from core.commands import Command


class Caller(msgspec.Struct, frozen=True):
    """The caller; ``admin`` means the permission courses:admin."""

    user_id: UUID
    admin: bool = False


class Price(TypedDict):
    amount_minor: int
    currency: str


class CourseFields(TypedDict, total=False):
    """Fields that an author can change; omitted fields keep their value."""

    slug: str
    title: str
    summary: str
    description: str
    category: str
    level: str
    language: str
    tags: list[str]
    cover_url: str | None
    cover_file_id: UUID | None
    sequential: bool
    price: Price


class PlannedSection(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A section of a reordered outline: an existing one by its id, or a new one by its title."""

    id: UUID | None = None
    title: str | None = None
    lessons: list[UUID]


class CourseCursor(msgspec.Struct, array_like=True):
    """Cursor: the last item of a page."""

    created_at: datetime
    course_id: UUID


class LessonFields(TypedDict, total=False):
    """Fields of a lesson that an author can change; omitted fields keep their value."""

    title: str
    kind: str
    content: dict[str, Any]
    duration_seconds: int | None
    free_preview: bool
    completion: dict[str, Any]
    unlock: dict[str, Any] | None
    files: list[dict[str, Any]]


class EnrollmentCursor(msgspec.Struct, array_like=True):
    """Cursor: the last item of a page."""

    enrolled_at: datetime
    enrollment_id: UUID


class LearnerFilters(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Filters and position of a list of learners; None does not filter."""

    status: str | None = None  # active, ended
    progress_min: int | None = None
    progress_max: int | None = None
    after: EnrollmentCursor | None = None


class ReviewCursor(msgspec.Struct, array_like=True):
    """Cursor: the last item of a page."""

    created_at: datetime
    review_id: UUID


class CatalogueFilters(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Filters of a catalogue query; None does not filter. Prices are in minor units."""

    q: str | None = None
    category: str | None = None
    level: str | None = None
    language: str | None = None
    tag: str | None = None
    instructor_id: UUID | None = None
    free: bool | None = None
    currency: str | None = None
    price_min: int | None = None
    price_max: int | None = None


class CatalogueCursor(msgspec.Struct, array_like=True):
    """Cursor: the last item of a page."""

    key: Any
    course_id: UUID
    respelled: bool


class ArchiveCourse(Command, service="courses"):
    """Remove a course from sale and from its author's list."""

    ref: str
    caller: Caller
    expected_version: int


class ChangeCourse(Command, service="courses"):
    """Change fields of a course; ``expected_version`` is the version that the client has read."""

    ref: str
    caller: Caller
    expected_version: int
    fields: CourseFields


class CheckCourseEditable(Command, service="courses"):
    """Check that the caller may change the course."""

    ref: str
    caller: Caller


class CreateCourse(Command, service="courses"):
    """Create a course as a draft, which only its author and admins see."""

    instructor_id: UUID
    fields: CourseFields


class ListOwnCourses(Command, service="courses"):
    """Return a page of an instructor's courses, drafts included, the newest first."""

    instructor_id: UUID
    after: CourseCursor | None
    limit: int
    status: str | None = None  # None: all that are not archived


class PublishCourse(Command, service="courses"):
    """Publish the working copy as an immutable version and put it on sale."""

    ref: str
    caller: Caller
    expected_version: int | None = None
    learners: str = "keep"  # keep their version, or move: to this one


class PreviewPublication(Command, service="courses"):
    """Return what a publication of the working copy would change, whom it concerns, and what prevents it."""

    ref: str
    caller: Caller


class ChangeEnrolledVersion(Command, service="courses"):
    """Store the version that a learner has moved to, before its event arrives."""

    user_id: UUID
    course_id: UUID
    course_version: int


class SetPrerequisites(Command, service="courses"):
    """Set the required courses, and whether lessons must be completed in order."""

    course_id: UUID
    caller: Caller
    expected_version: int
    prerequisites: list[UUID]
    sequential: bool | None


class UnpublishCourse(Command, service="courses"):
    """Remove a course from sale."""

    ref: str
    caller: Caller


class ListCourses(Command, service="courses"):
    """Return a page of the courses on sale, with facets and total if requested."""

    filters: CatalogueFilters
    sort: str | None
    after: CatalogueCursor | None
    limit: int
    facets: bool
    total: bool


class ShowCourse(Command, service="courses"):
    """Return a course with its outline, by id or slug: the working copy to its author, else the version on sale."""

    ref: str
    caller: Caller | None


class Enroll(Command, service="courses"):
    """Enroll a user in a free course and return the enrollment, also if it exists already."""

    user_id: UUID
    course_id: UUID


class LeaveCourse(Command, service="courses"):
    """End the learner's access that was not bought; they may join again."""

    user_id: UUID
    course_id: UUID


class EnrollUserAsAdmin(Command, service="courses"):
    """Enroll a user on behalf of an admin, at any price; access ends at ``ends_at``, or never."""

    user_id: UUID
    course_id: UUID
    granted_by: UUID
    ends_at: datetime | None = None


class ListEnrollments(Command, service="courses"):
    """Return a page of a user's enrollments, the newest first."""

    user_id: UUID
    after: EnrollmentCursor | None
    limit: int


class ShowAccess(Command, service="courses"):
    """Return whether a user has access to a course, and the grants that give it."""

    user_id: UUID
    course_id: UUID


class RevokeAccess(Command, service="courses"):
    """Revoke what staff gave and a free enrollment; return the access that is left."""

    user_id: UUID
    course_id: UUID


class ShowActiveEnrollment(Command, service="courses"):
    """Return the enrollment of a user who has access to the course, as the progress service needs it to start."""

    user_id: UUID
    course_id: UUID


class ShowCourseLearner(Command, service="courses"):
    """Return a learner of a course that the caller teaches, with their grants."""

    course_id: UUID
    user_id: UUID
    caller: Caller


class ChangeAccessEnd(Command, service="courses"):
    """Change when the access of a learner ends; None: never."""

    course_id: UUID
    user_id: UUID
    caller: Caller
    expected_version: int
    ends_at: datetime | None


class ListLearners(Command, service="courses"):
    """Return a page of the learners of a course that the caller may change, latest enrollment first."""

    course_id: UUID
    caller: Caller
    filters: LearnerFilters
    limit: int


class ListLearnerCourses(Command, service="courses"):
    """Return a page of the courses that a user is enrolled in, with titles and covers, the newest first."""

    user_id: UUID
    after: EnrollmentCursor | None
    limit: int


class ShowLearnerCourse(Command, service="courses"):
    """Return the outline of a learner's version, their quiz scores and their access.

    ``course_version`` replaces the version of the enrollment, which may be older than the learner's progress.
    """

    user_id: UUID
    course_id: UUID
    course_version: int | None = None


class ShowLesson(Command, service="courses"):
    """Return a lesson with its contents and the version of the course that it belongs to.

    With ``defer_locks`` the sender asks the progress service whether the lesson is open, if the reply says so.
    """

    course_id: UUID
    lesson_id: UUID
    caller: Caller | None
    defer_locks: bool = False


class AddLesson(Command, service="courses"):
    """Append a lesson to a section."""

    course_id: UUID
    section_id: UUID
    caller: Caller
    fields: LessonFields


class AddSection(Command, service="courses"):
    """Append a section."""

    course_id: UUID
    caller: Caller
    title: str


class ChangeLesson(Command, service="courses"):
    """Change a lesson."""

    course_id: UUID
    lesson_id: UUID
    caller: Caller
    expected_version: int
    section_id: UUID | None
    fields: LessonFields


class RemoveLesson(Command, service="courses"):
    """Remove a lesson."""

    course_id: UUID
    lesson_id: UUID
    caller: Caller
    expected_version: int


class RemoveSection(Command, service="courses"):
    """Remove an empty section."""

    course_id: UUID
    section_id: UUID
    caller: Caller
    expected_version: int


class RenameSection(Command, service="courses"):
    """Change the title of a section."""

    course_id: UUID
    section_id: UUID
    caller: Caller
    expected_version: int
    title: str


class ReorderOutline(Command, service="courses"):
    """Reorder sections and lessons."""

    course_id: UUID
    caller: Caller
    expected_version: int
    sections: list[PlannedSection]


class ListReviews(Command, service="courses"):
    """Return a page of the reviews of a course, the newest first."""

    course_id: UUID
    after: ReviewCursor | None
    limit: int
    hidden: bool = False


class ReviewCourse(Command, service="courses"):
    """Create or replace the learner's review of a course."""

    user_id: UUID
    course_id: UUID
    rating: int
    text: str


class ListVersions(Command, service="courses"):
    """Return a page of the published versions, the newest first."""

    ref: str
    caller: Caller
    after: int | None
    limit: int


class RestoreVersion(Command, service="courses"):
    """Replace the working copy by a published version."""

    ref: str
    caller: Caller
    expected_version: int
    course_version: int


class CreateAnnouncement(Command, service="courses"):
    """Create an announcement to the learners of a course."""

    course_id: UUID
    caller: Caller
    subject: str
    body: str


class ListAnnouncements(Command, service="courses"):
    """Return a page of the announcements of a course, the newest first."""

    course_id: UUID
    caller: Caller
    after: UUID | None
    limit: int


class ShowAnnouncement(Command, service="courses"):
    """Return an announcement with its progress."""

    course_id: UUID
    announcement_id: UUID
    caller: Caller
