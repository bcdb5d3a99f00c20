"""Commands of the courses service on files."""

from datetime import datetime
from uuid import UUID

import msgspec

from core.commands import Command

from .courses import Caller


class FileCursor(msgspec.Struct, array_like=True):
    """Cursor: the last item of a page."""

    created_at: datetime
    file_id: UUID


class StartUpload(Command, service="courses"):
    """Create a file of a course and return a link to upload its contents."""

    course_id: UUID
    caller: Caller
    kind: str
    name: str
    content_type: str
    size_bytes: int


class CompleteUpload(Command, service="courses"):
    """Check the contents that were uploaded, and make the file ready for use."""

    course_id: UUID
    file_id: UUID
    caller: Caller


class ListFiles(Command, service="courses"):
    """Return a page of the files of a course, the newest first."""

    course_id: UUID
    caller: Caller
    after: FileCursor | None
    limit: int


class ShowCover(Command, service="courses"):
    """Return a link to the picture of a cover."""

    file_id: UUID


class RemoveFile(Command, service="courses"):
    """Delete a file that is marked as unused, first from the store."""

    file_id: UUID
