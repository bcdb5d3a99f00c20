"""Files of a course: through the pages, or by a script that sends large ones to the store itself."""

import mimetypes
from pathlib import PurePath
from typing import BinaryIO, cast

from coursebus import errors, models
from flask import jsonify, request
from flask.typing import ResponseReturnValue

from web.api import client
from web.errors import message_of
from web.language import _

from .blueprint import authors_only, blueprint

_TYPES = {
    ".md": "text/markdown",
    ".vtt": "text/vtt",
    ".webp": "image/webp",
    ".csv": "text/csv",
    ".zip": "application/zip",
}
ACCEPTED = {
    "cover": "image/jpeg,image/png,image/webp",
    "video": "video/mp4,video/webm",
    "captions": ".vtt,text/vtt",
    "attachment": ".pdf,.zip,.docx,.xlsx,.pptx,.mp3,.txt,.csv,.md,image/jpeg,image/png,image/webp",
}


class RefusedUpload(Exception):
    """The file cannot be used; the text says why."""


def receive(course_id: str, kind: models.FileKind) -> str:
    """Return the id of the file that a form contains, or that the script has uploaded. Raises RefusedUpload."""
    if stored := request.form.get("file_id"):
        return stored
    given = request.files.get("file")
    if given is None or not given.filename:
        raise RefusedUpload(_("Please choose a file."))
    name = PurePath(given.filename).name[:200]
    try:
        stored = (
            client()
            .upload_file(
                course_id,
                cast("BinaryIO", given.stream),
                kind=kind,
                name=name,
                content_type=_content_type(name, given.mimetype),
            )
            .id
        )
    except (errors.ValidationFailed, errors.Conflict, errors.BadRequest) as refusal:
        raise RefusedUpload(message_of(refusal)) from refusal
    except errors.ConnectionFailed as failure:
        raise RefusedUpload(_("The store of files does not answer. Please try again.")) from failure
    return stored


def _content_type(name: str, given: str) -> str:
    """Return the type of a file, by its name where browsers differ."""
    known = _TYPES.get(PurePath(name).suffix.lower())
    return known or given or mimetypes.guess_type(name)[0] or "application/octet-stream"


@blueprint.post("/<course_id>/files")
@authors_only
def start_upload(course_id: str) -> ResponseReturnValue:
    """Return a signed link, by which the script sends a file to the store."""
    name = request.form.get("name", "")[:200]
    fields = models.FileFields(
        kind=cast("models.FileKind", request.form.get("kind", "")),
        name=name,
        content_type=_content_type(name, request.form.get("type", "")),
        size_bytes=request.form.get("size", 0, int),
    )
    try:
        started = client().start_upload(course_id, fields)
    except errors.ApiError as refusal:
        return jsonify(problem=message_of(refusal)), refusal.status
    return jsonify(id=started.id, url=started.upload.url, headers=started.upload.headers)


@blueprint.post("/<course_id>/files/<file_id>/complete")
@authors_only
def complete_upload(course_id: str, file_id: str) -> ResponseReturnValue:
    """Check a file that the script has sent to the store."""
    try:
        return jsonify(id=client().complete_upload(course_id, file_id).id)
    except errors.ApiError as refusal:
        return jsonify(problem=message_of(refusal)), refusal.status
