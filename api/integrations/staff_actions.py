"""Audit log: the commands that staff and machine clients executed, from all services."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

import settings
from api.auth import require_auth
from api.fanout import Call, gather_all
from api.pagination import Page, PageQuery, page_response, page_schema
from api.schemas import Schema, Timestamp
from models.commands import ListStaffActions

from .blueprint import blp


class StaffActionQuery(PageQuery):
    actor = ma.fields.Str(
        load_default=None,
        validate=ma.validate.Regexp(r"(user|client):[^\s]{1,255}\Z", error="Give user:<id> or client:<id>."),
        metadata={"description": "`user:<id>` or `client:<id>`."},
    )
    subject_id = ma.fields.UUID(
        load_default=None, metadata={"description": "Only commands that name this id, such as that of an order."}
    )


class StaffActionSchema(Schema):
    id = ma.fields.UUID()
    actor = ma.fields.Str(metadata={"description": "`user:<id>` or `client:<id>`."})
    command = ma.fields.Str(metadata={"description": "The command, as <service>.<verb>."})
    subject = ma.fields.Dict(
        keys=ma.fields.Str(), values=ma.fields.UUID(), metadata={"description": "The ids in the command, by name."}
    )
    request_id = ma.fields.Str(allow_none=True, metadata={"description": "The X-Request-Id of the request."})
    done_at = Timestamp()


@blp.route("/staff-actions")
class StaffActions(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(StaffActionQuery, location="query")
    @blp.doc(operationId="listStaffActions")
    @blp.response(200, page_schema(StaffActionSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List actions of staff

        Every command that staff or a machine client executed successfully, newest first. The records are kept for good
        and no service can change them.
        """
        limit, before = query["limit"], query.pop("after")
        calls = {
            service: Call(
                ListStaffActions(
                    service=service,
                    limit=limit + 1,
                    before=UUID(before) if before else None,
                    actor=query["actor"],
                    subject_id=query["subject_id"],
                ),
                list[dict[str, Any]],
            )
            for service in settings.SERVICES
        }
        pages = gather_all(calls, timeout_seconds=settings.READ_TIMEOUT_SECONDS)
        # The ids are UUIDv7, which are ordered by time, also as text.
        actions = sorted((action for page in pages.values() for action in page), key=lambda each: each["id"])[::-1]
        has_more = len(actions) > limit
        return page_response({"items": actions[:limit], "next": actions[limit - 1]["id"] if has_more else None})
