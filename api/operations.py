"""Operations: commands sent with ``Prefer: respond-async``. The id of an operation contains the name of its service."""

import re
from typing import Any
from uuid import UUID

import marshmallow as ma
import msgspec
from flask import Response
from flask.views import MethodView

import settings
from models.errors import DomainError, NotFound

from . import problems
from .auth import me, requires
from .blueprints import Blueprint
from .headers import prefers_async
from .queue import Accepted, look_up
from .schemas import Schema, Timestamp

blp = Blueprint("operations", __name__, url_prefix="/v1", description="Commands whose answer is fetched later.")

_ID = re.compile(r"([a-z]+)-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class ProblemSchema(Schema):
    type = ma.fields.Str()
    title = ma.fields.Str()
    status = ma.fields.Int()
    detail = ma.fields.Str()
    code = ma.fields.Str()


class OperationSchema(Schema):
    id = ma.fields.Str()
    kind = ma.fields.Str(metadata={"description": "The command, as <service>.<verb>."})
    status = ma.fields.Str(validate=ma.validate.OneOf(["pending", "running", "succeeded", "failed"]))
    result = ma.fields.Raw(allow_none=True, metadata={"description": "What the command answered."})
    error = ma.fields.Nested(ProblemSchema, allow_none=True)
    created_at = Timestamp()
    finished_at = Timestamp(allow_none=True)


@blp.route("/operations/<operation_id>")
class Operation(MethodView):
    @requires()
    @blp.response(200, OperationSchema)
    def get(self, operation_id: str) -> Any:
        """Retrieve an operation"""
        return _shown(_of_its_service("show_operation", operation_id))


@blp.route("/operations/<operation_id>/cancel")
class OperationCancellation(MethodView):
    @requires()
    @blp.response(200, OperationSchema)
    def post(self, operation_id: str) -> Any:
        """Cancel an operation

        Only before it has started. It then has the status `failed` and the error code `operation_canceled`.
        """
        return _shown(_of_its_service("cancel_operation", operation_id))


@blp.app_errorhandler(Accepted)
def accepted(accepted: Accepted) -> Response:
    """Return a 202 with the operation, which is already committed, and its URL in Location."""
    operation = accepted.args[0]
    headers = {"Location": f"/v1/operations/{operation['id']}"}
    if prefers_async():
        headers["Preference-Applied"] = "respond-async"
    return Response(msgspec.json.encode(_shown(operation)), 202, headers, content_type="application/json")


def _of_its_service(verb: str, operation_id: str) -> dict[str, Any]:
    named = _ID.fullmatch(operation_id)
    if named is None or named[1] not in settings.SERVICES:
        raise NotFound("operation", operation_id)
    operation: dict[str, Any] = look_up(f"{named[1]}.{verb}", operation_id=UUID(named[2]), owner=me().sub)
    return operation


def _shown(operation: dict[str, Any]) -> dict[str, Any]:
    if operation["error"] is None:
        return operation
    error = DomainError.from_wire(operation["error"])
    return {**operation, "error": problems.described(error.status, error.code, str(error))}
