"""Enroll and unenroll people by a list of addresses or by CSV, as an operation with progress."""

import csv
import io
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.operations import OperationSchema
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call, call_async
from api.schemas import Line, Prose, Schema, Timestamp, UtcDateTime, unique_items
from models.commands import (
    CreateEnrollmentBatch,
    ListEnrollmentBatches,
    ListEnrollmentBatchRows,
    ShowEnrollmentBatch,
)
from models.commands.enrollment_batches import BatchRow

from .blueprint import blp, course_caller, require_own_course

ROWS_MAX = 10_000
_CSV_LENGTH_MAX = 1_000_000
_HEADERS = {"email", "e-mail"}
_ACTIONS = ["enroll", "unenroll"]
RESULTS = [
    *("pending", "enrolled", "invited", "unenrolled", "invitation_withdrawn", "already_enrolled", "already_invited"),
    *("not_enrolled", "access_purchased", "duplicate", "email_invalid", "end_in_past"),
]


class EnrollmentBatchFieldsSchema(Schema):
    action = ma.fields.Str(load_default="enroll", validate=ma.validate.OneOf(_ACTIONS))
    emails = ma.fields.List(
        Line(max_length=1000),
        validate=[ma.validate.Length(min=1, max=ROWS_MAX), unique_items],
        metadata={"description": "Addresses; the line of each is its place in the list, from 1."},
    )
    csv = Prose(
        max_length=_CSV_LENGTH_MAX,
        metadata={
            "description": "In place of `emails`: CSV with the addresses in the column `email`, or in the first one if"
            f" no column has that name. Columns end with commas, semicolons or tabs. Up to {ROWS_MAX} rows."
        },
    )
    ends_at = UtcDateTime(
        load_default=None, allow_none=True, metadata={"description": "When access ends; without it never."}
    )

    @ma.validates_schema
    def _is_one_list(self, fields: dict[str, Any], **_: Any) -> None:
        if ("emails" in fields) == ("csv" in fields):
            raise ma.ValidationError("Give either emails or csv.", "emails")
        if fields["action"] == "unenroll" and fields["ends_at"]:
            raise ma.ValidationError("Only of an enrollment.", "ends_at")

    @ma.post_load
    def _with_rows(self, fields: dict[str, Any], **_: Any) -> dict[str, Any]:
        rows = list(_rows_of(fields))
        return {"action": fields["action"], "ends_at": fields["ends_at"], "rows": rows}


class EnrollmentBatchSchema(Schema):
    id = ma.fields.UUID()
    course_id = ma.fields.UUID()
    author_id = ma.fields.UUID(metadata={"description": "The user who sent the list."})
    action = ma.fields.Str(validate=ma.validate.OneOf(_ACTIONS))
    ends_at = Timestamp(allow_none=True)
    rows_total = ma.fields.Int()
    rows_done = ma.fields.Int(metadata={"description": "Rows that have a result."})
    counts = ma.fields.Dict(
        keys=ma.fields.Str(), values=ma.fields.Int(), metadata={"description": "Number of rows by their result."}
    )
    created_at = Timestamp()
    finished_at = Timestamp(allow_none=True)


class EnrollmentBatchRowSchema(Schema):
    line = ma.fields.Int(metadata={"description": "Of CSV the last line of the row."})
    email = ma.fields.Str(allow_none=True, metadata={"description": "In lower case; null after an erasure."})
    result = ma.fields.Str(
        validate=ma.validate.OneOf(RESULTS),
        metadata={"description": "`invited`: no user has verified the address yet; who does, gets access."},
    )


class EnrollmentBatchRowQuery(PageQuery):
    result = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(RESULTS))


@blp.route("/courses/<uuid:course_id>/enrollment-batches")
class EnrollmentBatches(MethodView):
    @require_auth("courses:write", reads_personal_data=True)
    @require_own_course
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listEnrollmentBatches")
    @blp.response(200, page_schema(EnrollmentBatchSchema))
    def get(self, query: dict[str, Any], course_id: UUID) -> Page:
        """List the enrollment batches of a course

        Newest first. They are deleted some days after their end.
        """
        caller = course_caller(current_caller())
        return page_response(call(ListEnrollmentBatches(course_id=course_id, caller=caller, **query)))

    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(EnrollmentBatchFieldsSchema)
    @blp.doc(operationId="createEnrollmentBatch")
    @blp.response(202, OperationSchema, headers={"Location": "Location"})
    def post(self, fields: dict[str, Any], course_id: UUID) -> None:
        """Enroll or unenroll people by their addresses

        In a free course; staff with `courses:admin` also in others. Each row has a result of its own. An address that
        no user has verified is invited: access begins when a user verifies it. Access that was bought is not ended.
        The batch has the UUID of the operation and shows the progress; when all rows have a result, it is the result of
        the operation.
        """
        caller = current_caller()
        course_author = course_caller(caller)
        call_async(CreateEnrollmentBatch(course_id=course_id, caller=course_author, owner=caller.sub, **fields))


@blp.route("/courses/<uuid:course_id>/enrollment-batches/<uuid:batch_id>")
class EnrollmentBatch(MethodView):
    @require_auth("courses:write", reads_personal_data=True)
    @blp.doc(operationId="getEnrollmentBatch")
    @blp.response(200, EnrollmentBatchSchema)
    def get(self, course_id: UUID, batch_id: UUID) -> Any:
        """Retrieve an enrollment batch

        With its progress.
        """
        caller = course_caller(current_caller())
        return call(ShowEnrollmentBatch(course_id=course_id, batch_id=batch_id, caller=caller))


@blp.route("/courses/<uuid:course_id>/enrollment-batches/<uuid:batch_id>/rows")
class EnrollmentBatchRows(MethodView):
    @require_auth("courses:write", reads_personal_data=True)
    @require_own_course
    @blp.arguments(EnrollmentBatchRowQuery, location="query")
    @blp.doc(operationId="listEnrollmentBatchRows")
    @blp.response(200, page_schema(EnrollmentBatchRowSchema))
    def get(self, query: dict[str, Any], course_id: UUID, batch_id: UUID) -> Page:
        """List the rows of an enrollment batch

        In the order of their lines, with their results.
        """
        caller = course_caller(current_caller())
        return page_response(
            call(ListEnrollmentBatchRows(course_id=course_id, batch_id=batch_id, caller=caller, **query))
        )


def _rows_of(fields: dict[str, Any]) -> Iterator[BatchRow]:
    """Yield the rows with their lines. Raises ValidationError."""
    if "emails" in fields:
        yield from (BatchRow(line, email) for line, email in enumerate(fields["emails"], 1))
        return
    text = fields["csv"].removeprefix("\ufeff")  # which spreadsheets write
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    column, number = None, 0
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if column is None:
                names = [cell.strip().lower() for cell in cells]
                column = next((place for place, name in enumerate(names) if name in _HEADERS), 0)
                if names[column] in _HEADERS:
                    continue
            number += 1
            if number > ROWS_MAX:
                raise ma.ValidationError(f"Up to {ROWS_MAX} rows.", "csv")
            yield BatchRow(reader.line_num, cells[column] if column < len(cells) else "")
    except csv.Error as error:
        raise ma.ValidationError(f"Not readable: {error}.", "csv") from error
    if not number:
        raise ma.ValidationError("No rows.", "csv")
