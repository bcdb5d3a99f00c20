"""Files of courses: upload, check, signed links, and the deletion of unused ones."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from core.db import utc_now
from models.commands import RemoveFile
from models.commands.courses import Caller
from models.commands.files import FileCursor
from models.courses.course import Course
from models.courses.files import File, files_of, fits_content_type
from models.errors import FileNotUploaded, FileRejected, NotFound
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from . import object_storage

_UNUSED_FOR = timedelta(days=1)
_BATCH_SIZE = 100


@task
def start_upload(
    session: Session, *, course_id: UUID, caller: Caller, kind: str, name: str, content_type: str, size_bytes: int
) -> dict[str, Any]:
    """Create a file of a course and return a link to upload its contents, as declared.

    Raises NotFound, FileTypeNotAllowed, FileTooLarge, TooManyUploads, StorageUnavailable.
    """
    course = Course.get_for_update(session, str(course_id), caller)
    File.require_room(session, course)
    file = File.create(
        course, caller, kind=kind, name=name, content_type=content_type, size_bytes=size_bytes, at=utc_now()
    )
    session.add(file)
    link = object_storage.upload_link(file.key, content_type=content_type, size_bytes=size_bytes)
    upload = {"method": "PUT", "url": link.url, "headers": dict(link.headers), "expires_at": link.expires_at}
    return {**file.to_response(), "upload": {**upload, "content_type": content_type}}


@task
def complete_upload(transactions: Transactions, *, course_id: UUID, file_id: UUID, caller: Caller) -> dict[str, Any]:
    """Check the uploaded contents and make the file ready; no effect on a ready file.

    A file with other contents is deleted, not only its contents: a request that read them earlier must not delete new
    ones. Its row is deleted by ``delete_unused_files`` when the link for the upload has ended.

    Raises NotFound, FileNotUploaded, FileRejected, StorageUnavailable.
    """
    with transactions.begin() as session:
        file = _find(session, course_id, file_id, caller)
        if file.status == "ready":
            return transactions.complete(session, file.to_response())
    contents = object_storage.read_start(file.key)
    if contents is None:
        raise FileNotUploaded(str(file_id))
    if contents.size_bytes != file.size_bytes or not fits_content_type(file.content_type, contents.start):
        with transactions.begin() as session:
            file = _find(session, course_id, file_id, caller, for_update=True)
            if file.status == "ready":
                return transactions.complete(session, file.to_response())
            file.status = "deleting"
        object_storage.delete(file.key)
        raise FileRejected(str(file_id), file.content_type, str(file.size_bytes))
    with transactions.begin() as session:
        file = _find(session, course_id, file_id, caller, for_update=True)
        file.status = "ready"
        return transactions.complete(session, file.to_response())


@task
def list_files(
    session: Session, *, course_id: UUID, caller: Caller, after: FileCursor | None, limit: int
) -> dict[str, Any]:
    """Return a page of the files of a course, the newest first: {"items", "next"}. Raises NotFound."""
    if not Course.get(session, str(course_id)).may_be_changed_by(caller):
        raise NotFound("course", str(course_id))
    files, following = File.list_page(session, course_id, after, limit)
    return {"items": [file.to_response() for file in files], "next": following}


@task
def show_cover(session: Session, *, file_id: UUID) -> dict[str, Any]:
    """Return a link to the picture of a cover, which is public. Raises NotFound."""
    file = File.get(session, file_id, kind="cover")
    if file.status != "ready":
        raise NotFound("file", str(file_id))
    return {"url": object_storage.download_link(file.key, content_type=file.content_type).url}


@job
def delete_unused_files(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Delete files that no course uses a day after their creation. A lost hint is repeated by the next run."""
    for file_id in File.mark_unused(session, before=utc_now() - _UNUSED_FOR, limit=_BATCH_SIZE):
        enqueue_after_commit(RemoveFile(file_id=file_id))


@task
def remove_file(transactions: Transactions, *, file_id: UUID) -> None:
    """Delete a file that is marked as unused, first from the store. Raises StorageUnavailable."""
    with transactions.begin() as session:
        file = session.get(File, file_id)
        if file is None or file.status != "deleting":
            return
    object_storage.delete(file.key)
    with transactions.begin() as session:
        file = session.get(File, file_id, with_for_update=True, populate_existing=True)
        if file and file.status == "deleting":
            session.delete(file)


def cover_url(session: Session, course: Course, file_id: UUID | None) -> str | None:
    """Return the public address of an uploaded cover. Raises NotFound, also if its upload is not complete."""
    if file_id is None:
        return None
    file = File.get_for_update(session, file_id, course_id=course.id, kind="cover")
    if file.status != "ready":
        raise NotFound("file", str(file_id))
    File.keep(session, [str(file_id)], at=utc_now())  # published versions and copies have its address
    return f"{settings.PUBLIC_URL}/v1/covers/{file_id}"


def with_links(session: Session, lesson: dict[str, Any]) -> dict[str, Any]:
    """Return a lesson with a signed link to each of its files. Only for callers who may read the lesson.

    A file that does not exist is left out, so that the rest of the lesson can be read.
    """
    used = files_of(lesson)
    if not used:
        return lesson
    files = File.list_by_id(session, [file_id for file_id, _ in used])
    present = [each for each in lesson.get("files", []) if each["file_id"] in files]
    linked = {**lesson, "files": [{**each, **_with_link(files[each["file_id"]])} for each in present]}
    if video := files.get(lesson["content"].get("file_id", "")):
        linked["content"] = {**lesson["content"], "url": _with_link(video)["url"]}
    return linked


def _with_link(file: File) -> dict[str, Any]:
    name = file.name if file.kind == "attachment" else None
    link = object_storage.download_link(file.key, content_type=file.content_type, file_name=name)
    shown = {"name": file.name, "content_type": file.content_type, "size_bytes": file.size_bytes}
    return {**shown, "url": link.url, "url_expires_at": link.expires_at}


def _find(session: Session, course_id: UUID, file_id: UUID, caller: Caller, *, for_update: bool = False) -> File:
    if not Course.get(session, str(course_id)).may_be_changed_by(caller):
        raise NotFound("file", str(file_id))
    find = File.get_for_update if for_update else File.get
    return find(session, file_id, course_id=course_id)
