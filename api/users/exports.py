"""Data export routes: the caller requests and reads an export of their data."""

from typing import Any

import marshmallow as ma
from flask.views import MethodView

import settings
from api.auth import current_caller, require_auth
from api.fanout import Call, gather_all
from api.operations import OperationSchema
from api.rpc import call, call_async
from api.schemas import Schema, Timestamp
from models.commands import (
    RequestExport,
    ShowExport,
    ShowExportPart,
)

from .blueprint import blp


class ExportSchema(Schema):
    id = ma.fields.UUID()
    requested_at = Timestamp()
    finished_at = Timestamp()
    services = ma.fields.Dict(metadata={"description": "The caller's data, by service."})


@blp.route("/me/export")
class Export(MethodView):
    @require_auth()
    @blp.doc(operationId="requestDataExport")
    @blp.response(202, OperationSchema, headers={"Location": "Location"})
    def post(self) -> None:
        """Request a data export

        Every service exports the caller's personal data. The result of the operation says where to find it.
        """
        call_async(RequestExport(user_id=current_caller().id, owner=current_caller().sub))

    @require_auth()
    @blp.doc(operationId="getDataExport")
    @blp.response(200, ExportSchema)
    def get(self) -> Any:
        """Retrieve the latest data export

        What each service stores about the caller. 404 until the first one is finished.
        """
        export = call(ShowExport(user_id=current_caller().id))
        part_query = {"user_id": current_caller().id, "export_id": export["id"]}
        calls = {service: Call(ShowExportPart(service=service, **part_query)) for service in export["services"]}
        return {**export, "services": gather_all(calls, timeout_seconds=settings.READ_TIMEOUT_SECONDS)}
