"""Operations: commands sent with ``Prefer: respond-async``. The id of an operation contains the name of its service."""

import re
from typing import Any
from uuid import UUID

import marshmallow as ma
import msgspec
from flask import Response
from flask.views import MethodView

import settings
from models.commands import CancelOperation, ListOperations, ShowOperation
from models.errors import DomainError, InsufficientPermission, NotFound

from . import problems
from .auth import current_caller, require_auth
from .blueprints import Blueprint
from .integrations.listing import list_newest_of_all_services
from .pagination import Page, PageQuery, page_response, page_schema
from .request_context import prefers_async
from .rpc import AcceptedAsync, call_without_idempotency_key
from .schemas import Schema, Timestamp

blp = Blueprint("operations", __name__, url_prefix="/v1", description="Asynchronous commands: status and result.")

_ID = re.compile(r"([a-z]+)-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


STATUSES = ["pending", "running", "succeeded", "failed"]


class ProblemSchema(Schema):
    type = ma.fields.Str()
    title = ma.fields.Str()
    status = ma.fields.Int()
    detail = ma.fields.Str()
    code = ma.fields.Str()


class OperationSchema(Schema):
    id = ma.fields.Str()
    kind = ma.fields.Str(metadata={"description": "The command, as <service>.<verb>."})
    status = ma.fields.Str(validate=ma.validate.OneOf(STATUSES))
    result = ma.fields.Raw(allow_none=True, metadata={"description": "The result of the command."})
    error = ma.fields.Nested(ProblemSchema, allow_none=True)
    created_at = Timestamp()
    finished_at = Timestamp(allow_none=True)


class OperationQuery(PageQuery):
    status = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(STATUSES))
    everyone = ma.fields.Bool(
        load_default=False, metadata={"description": "Also those of other callers; needs `ops:admin`."}
    )


@blp.route("/operations")
class Operations(MethodView):
    @require_auth(machines=True)
    @blp.arguments(OperationQuery, location="query")
    @blp.doc(operationId="listOperations")
    @blp.response(200, page_schema(OperationSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List operations

        The caller's own, newest first. They are kept for some days after their end. Those of other callers are shown
        without their results, which may have personal data.
        """
        sub, everyone = current_caller().sub, query.pop("everyone")
        if everyone and "ops:admin" not in current_caller().permissions:
            raise InsufficientPermission("ops:admin")
        found = list_newest_of_all_services(ListOperations, owner=None if everyone else sub, **query)
        hidden = {"result": None} if everyone else {}
        return page_response(found | {"items": [_to_response(each | hidden) for each in found["items"]]})


@blp.route("/operations/<operation_id>")
class Operation(MethodView):
    @require_auth()
    @blp.doc(operationId="getOperation")
    @blp.response(200, OperationSchema)
    def get(self, operation_id: str) -> Any:
        """Retrieve an operation

        Its status and, when it has ended, the response of its command or the problem. Visible to its owner only.
        """
        return _to_response(_call_service(ShowOperation, operation_id))


@blp.route("/operations/<operation_id>/cancel")
class OperationCancellation(MethodView):
    @require_auth()
    @blp.doc(operationId="cancelOperation")
    @blp.response(200, OperationSchema)
    def post(self, operation_id: str) -> Any:
        """Cancel an operation

        Only before it has started. It then has the status `failed` and the error code `operation_canceled`.
        """
        return _to_response(_call_service(CancelOperation, operation_id))


@blp.app_errorhandler(AcceptedAsync)
def accepted_response(error: AcceptedAsync) -> Response:
    """Return a 202 with the operation, which is already committed, and its URL in Location."""
    operation = error.args[0]
    headers = {"Location": f"/v1/operations/{operation['id']}"}
    if prefers_async():
        headers["Preference-Applied"] = "respond-async"
    return Response(msgspec.json.encode(_to_response(operation)), 202, headers, content_type="application/json")


def _call_service(command: type[ShowOperation | CancelOperation], operation_id: str) -> dict[str, Any]:
    match = _ID.fullmatch(operation_id)
    if match is None or match[1] not in settings.SERVICES:
        raise NotFound("operation", operation_id)
    operation: dict[str, Any] = call_without_idempotency_key(
        command(service=match[1], operation_id=UUID(match[2]), owner=current_caller().sub)
    )
    return operation


def _to_response(operation: dict[str, Any]) -> dict[str, Any]:
    if operation["error"] is None:
        return operation
    error = DomainError.from_wire(operation["error"])
    return {**operation, "error": problems.problem_members(error.status, error.code, str(error))}
