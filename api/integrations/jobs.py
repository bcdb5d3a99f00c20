"""Periodic jobs: their state, and running a failed period again."""

import re
from typing import Any

import marshmallow as ma
from flask.views import MethodView

import settings
from api.auth import require_auth
from api.fanout import Call, gather_all
from api.rpc import call
from api.schemas import Schema, Timestamp, UtcDateTime
from models.commands import ListJobs, RunJobAgain
from models.errors import NotFound

from .blueprint import blp

_KIND = re.compile(r"([a-z]+)\.[a-z_]{1,80}")


class JobSchema(Schema):
    kind = ma.fields.Str(metadata={"description": "The job, as <service>.<name>."})
    last_slot = Timestamp(metadata={"description": "Start of the latest period that was begun."})
    last_success_at = Timestamp(allow_none=True)
    attempts = ma.fields.Int(metadata={"description": "Attempts at the oldest period that has not finished."})
    failed_slots = ma.fields.List(Timestamp(), metadata={"description": "Periods that failed for good, oldest first."})
    last_error = ma.fields.Str(allow_none=True)


class JobsSchema(Schema):
    jobs = ma.fields.List(ma.fields.Nested(JobSchema))


class JobSlotSchema(Schema):
    slot = UtcDateTime(required=True, metadata={"description": "One of `failed_slots`."})


@blp.route("/jobs")
class Jobs(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.doc(operationId="listJobs")
    @blp.response(200, JobsSchema)
    def get(self) -> Any:
        """List the periodic jobs

        Of all services, with their latest success and the periods that failed.
        """
        calls = {service: Call(ListJobs(service=service), list[dict[str, Any]]) for service in settings.SERVICES}
        found = gather_all(calls, timeout_seconds=settings.READ_TIMEOUT_SECONDS)
        return {"jobs": [job for of_service in found.values() for job in of_service]}


@blp.route("/jobs/<kind>/run-again")
class JobRun(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(JobSlotSchema)
    @blp.doc(operationId="runJobAgain")
    @blp.response(204)
    def post(self, body: dict[str, Any], kind: str) -> None:
        """Run a failed period of a job again

        A worker starts it within a minute.
        """
        match = _KIND.fullmatch(kind)
        if match is None or match[1] not in settings.SERVICES:
            raise NotFound("job", kind)
        call(RunJobAgain(service=match[1], kind=kind, slot=body["slot"]))
