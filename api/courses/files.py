"""Files of courses: covers, attachments, captions and videos. Clients send contents to the store by signed links."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import redirect
from flask.views import MethodView
from werkzeug.wrappers import Response as BaseResponse

from api.auth import current_caller, public, require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Line, Schema, Timestamp
from models.commands import CompleteUpload, ListFiles, ShowCover, StartUpload

from .blueprint import blp, course_caller, require_own_course

FILE_KINDS = ("cover", "attachment", "captions", "video")
_COVER_CACHE_SECONDS = 600  # shorter than its link is valid


class FileFieldsSchema(Schema):
    kind = ma.fields.Str(required=True, validate=ma.validate.OneOf(FILE_KINDS))
    name = Line(required=True, metadata={"description": "Name of the file, under which learners save it."})
    content_type = ma.fields.Str(
        required=True,
        validate=[ma.validate.Length(max=100), ma.validate.Regexp(r"[a-z]+/[a-z0-9.+-]+\Z", error="A media type.")],
    )
    size_bytes = ma.fields.Int(required=True, strict=True, validate=ma.validate.Range(min=1, max=5 * 1024**3))


class FileSchema(Schema):
    id = ma.fields.UUID()
    kind = ma.fields.Str(validate=ma.validate.OneOf(FILE_KINDS))
    name = ma.fields.Str()
    content_type = ma.fields.Str()
    size_bytes = ma.fields.Int()
    status = ma.fields.Str(
        validate=ma.validate.OneOf(["pending", "ready"]),
        metadata={"description": "`ready` when the upload was checked; only then it can be used."},
    )
    created_at = Timestamp()


class UploadSchema(Schema):
    """The request that uploads the contents: exactly the declared type and number of bytes, once."""

    method = ma.fields.Str()
    url = ma.fields.Str(metadata={"format": "uri"})
    headers = ma.fields.Dict(
        keys=ma.fields.Str(),
        values=ma.fields.Str(),
        metadata={"description": "Send all of them. Browsers set `Content-Length` themselves."},
    )
    content_type = ma.fields.Str(metadata={"description": "The `Content-Type` of `headers`."})
    expires_at = Timestamp()


class NewFileSchema(FileSchema):
    upload = ma.fields.Nested(UploadSchema)


def has_files(lesson: dict[str, Any]) -> bool:
    """Return whether a lesson is answered with signed links."""
    return bool(lesson.get("files") or lesson["content"].get("file_id"))


@blp.route("/courses/<uuid:course_id>/files")
class Files(MethodView):
    @require_auth("courses:write")
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listFiles")
    @blp.response(200, page_schema(FileSchema))
    def get(self, query: dict[str, Any], course_id: UUID) -> Page:
        """List files of a course

        Newest first. Files that no lesson uses are deleted after a day.
        """
        return page_response(call(ListFiles(course_id=course_id, caller=course_caller(current_caller()), **query)))

    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(FileFieldsSchema)
    @blp.doc(operationId="startUpload")
    @blp.response(201, NewFileSchema)
    def post(self, fields: dict[str, Any], course_id: UUID) -> Any:
        """Start an upload

        Returns a signed link. `PUT` the contents there, then complete the upload. Covers are pictures up to 5 MB;
        captions are WebVTT up to 2 MB; videos are MP4 or WebM up to 4 GB; attachments are PDF, pictures, MP3, ZIP,
        texts and office documents up to 200 MB. A course has up to 100 uploads that are not complete.
        """
        return call(StartUpload(course_id=course_id, caller=course_caller(current_caller()), **fields))


@blp.route("/courses/<uuid:course_id>/files/<uuid:file_id>/complete")
class FileComplete(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="completeUpload")
    @blp.response(200, FileSchema)
    def post(self, course_id: UUID, file_id: UUID) -> Any:
        """Complete an upload

        Checks size and type of the contents in the store. A file whose contents are not what was declared is deleted
        and refused with `file_rejected`.
        """
        caller = course_caller(current_caller())
        return call(CompleteUpload(course_id=course_id, file_id=file_id, caller=caller))


@blp.route("/covers/<uuid:file_id>")
class Cover(MethodView):
    @public
    @blp.doc(operationId="getCover")
    @blp.response(302)
    def get(self, file_id: UUID) -> BaseResponse:
        """Retrieve an uploaded cover

        Redirects to the picture.
        """
        response = redirect(call(ShowCover(file_id=file_id))["url"], 302)
        response.headers["Cache-Control"] = f"public, max-age={_COVER_CACHE_SECONDS}"
        return response
