"""Errors of authoring and enrollment."""

from uuid import UUID

import msgspec

from core.errors import Conflict, Forbidden, Invalid, Unavailable


class CourseEmpty(Conflict):
    message = "Course {0} has no lesson to publish."


class SlugTaken(Conflict):
    message = "The slug {0} is, or was, the name of another course."


class PrerequisiteOfCourses(Conflict):
    message = "Courses on sale require this course. Change their prerequisites and publish them first: {0}."


class CourseNotImportable(Invalid):
    """``args[0]`` is the errors as JSON: [{"pointer", "detail"}]."""

    message = "The document cannot be imported: see errors."

    @classmethod
    def from_field_errors(cls, field_errors: list[dict[str, str]]) -> "CourseNotImportable":
        return cls(msgspec.json.encode(field_errors).decode())

    @property
    def errors(self) -> list[dict[str, str]]:
        field_errors: list[dict[str, str]] = msgspec.json.decode(self.args[0])
        return field_errors


class SectionNotEmpty(Conflict):
    message = "Move or delete the lessons of section {0} first."


class TooManyLessons(Conflict):
    message = "A course has up to {0} lessons."


class TooManySections(Conflict):
    message = "A course has up to {0} sections."


class OutlineIncomplete(Invalid):
    message = "The outline must name every lesson of the course once: {0}."


class SelfPrerequisite(Invalid):
    message = "A course cannot be its own prerequisite."


class PrerequisiteCycle(Invalid):
    message = "Course {0} requires this course, directly or through others."


class CourseNotPublishable(Invalid):
    """``args[0]`` is the id of the course, ``args[1]`` the errors as JSON: [{"pointer", "detail"}]."""

    message = "Course {0} cannot be published: see errors."

    @classmethod
    def from_field_errors(cls, course_id: UUID, field_errors: list[dict[str, str]]) -> "CourseNotPublishable":
        return cls(str(course_id), msgspec.json.encode(field_errors).decode())

    @property
    def errors(self) -> list[dict[str, str]]:
        field_errors: list[dict[str, str]] = msgspec.json.decode(self.args[1])
        return field_errors


class InvalidContent(Invalid):
    message = "The content of a {0} lesson must be {{{1}}}."


class NotCourseOwner(Forbidden):
    message = "Only the owner of course {0} may do this; you are one of its editors."


class NotEnrolled(Forbidden):
    message = "You have no access to course {0}."


class AccessPurchased(Conflict):
    message = "Access to course {0} was bought: refund the order or cancel the subscription instead."


class AccessHasNoEnd(Conflict):
    message = "No access to course {0} that is not revoked has an end: grant access instead."


class AccessSoldLonger(Conflict):
    message = "Access was sold until {0}: it cannot end earlier."


class EnrollmentBatchesOpen(Conflict):
    message = "{0} lists of this course are not finished: wait until one is."


class EndInPast(Invalid):
    message = "Access must end in the future: {0} is over. Revoke access to end it now."


class PrerequisiteMissing(Conflict):
    message = "Complete course {0} first."


class AnnouncementLimitReached(Conflict):
    message = "A course may send {0} announcements in 24 hours. Wait for the next one."


class FileTypeNotAllowed(Invalid):
    message = "{0} is not allowed for a file of the kind {1}: use one of {2}."


class FileTooLarge(Invalid):
    message = "A file of the kind {0} has up to {1} bytes."


class TooManyUploads(Conflict):
    message = "{0} uploads of this course are not complete: complete them, or wait until they are deleted after a day."


class FileNotUploaded(Conflict):
    message = "The contents of file {0} are not in the store: upload them first."


class FileRejected(Invalid):
    message = "The contents of file {0} are not {1} with {2} bytes, as declared. They were deleted: start a new upload."


class FileNotUsable(Invalid):
    message = "There is no uploaded file {0} of the kind {1} that this course may use."


class StorageUnavailable(Unavailable):
    message = "The file storage is not configured or does not answer; nothing was done."
