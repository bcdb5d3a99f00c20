"""Audit log: what staff and machine clients changed, and whose personal data they read, from all services."""

from typing import Any

import marshmallow as ma
from flask.views import MethodView

from api.auth import require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.schemas import Schema, Timestamp, UtcDateTime
from models.commands import ListStaffActions

from .blueprint import blp
from .listing import list_newest_of_all_services

KINDS = ["change", "read"]


class AuditQuery(PageQuery):
    actor = ma.fields.Str(
        load_default=None,
        validate=ma.validate.Regexp(r"(user|client):[^\s]{1,255}\Z", error="Give user:<id> or client:<id>."),
        metadata={"description": "`user:<id>` or `client:<id>`."},
    )
    subject_id = ma.fields.UUID(
        load_default=None,
        metadata={"description": "Only entries that name this id, such as that of an order or of a person."},
    )
    kind = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(KINDS))
    command = ma.fields.Str(
        load_default=None, validate=ma.validate.Regexp(r"[a-z]+\.[a-z_]{1,80}\Z", error="Give <service>.<verb>.")
    )
    since = UtcDateTime(load_default=None)
    until = UtcDateTime(load_default=None, metadata={"description": "Only earlier entries."})


class ChangedRowSchema(Schema):
    table = ma.fields.Str(metadata={"example": "courses.grants"})
    id = ma.fields.Str()
    before = ma.fields.Dict(
        allow_none=True,
        metadata={
            "description": "Earlier values of the changed columns, `(private)` for personal data; null for a new row."
        },
    )
    after = ma.fields.Dict(
        allow_none=True, metadata={"description": "New values of the changed columns; null for a deleted row."}
    )


class AuditEntrySchema(Schema):
    id = ma.fields.UUID()
    kind = ma.fields.Str(
        validate=ma.validate.OneOf(KINDS),
        metadata={"description": "`change`: a command. `read`: personal data of another person was read."},
    )
    actor = ma.fields.Str(metadata={"description": "`user:<id>` or `client:<id>`."})
    command = ma.fields.Str(metadata={"description": "The command or query, as <service>.<verb>."})
    subject = ma.fields.Dict(
        keys=ma.fields.Str(),
        values=ma.fields.UUID(),
        metadata={"description": "The ids in the command, by name; for a list of people, their ids."},
    )
    changes = ma.fields.List(ma.fields.Nested(ChangedRowSchema))
    request_id = ma.fields.Str(allow_none=True, metadata={"description": "The X-Request-Id of the request."})
    done_at = Timestamp()


@blp.route("/audit")
class Audit(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(AuditQuery, location="query")
    @blp.doc(operationId="listAuditEntries")
    @blp.response(200, page_schema(AuditEntrySchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the audit log

        Every command that staff or a machine client executed successfully, with the changed values, and every read of
        another person's personal data by staff. Newest first. The entries are kept for good and no service can change
        them.
        """
        return page_response(list_newest_of_all_services(ListStaffActions, **query))
