"""The status of the services for operators: queues, events that wait, failures and clocks."""

import time
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma
from flask.views import MethodView
from redis.exceptions import RedisError

import settings
from api.auth import require_auth
from api.fanout import Call, gather
from api.schemas import Schema, Timestamp
from core.messaging.task_queue import sent_at_of
from core.redis import queue_redis
from models.commands import ShowStatus
from models.errors import Unavailable

from .blueprint import blp


class ServiceStatusSchema(Schema):
    service = ma.fields.Str()
    responds = ma.fields.Bool(metadata={"description": "Whether a worker answered; if not, the rest is null."})
    queued_messages = ma.fields.Int()
    oldest_message_seconds = ma.fields.Float(metadata={"description": "Age of the oldest message in the queue."})
    unpublished_events = ma.fields.Int(allow_none=True, metadata={"description": "Committed, not yet on Kafka."})
    oldest_unpublished_at = Timestamp(allow_none=True)
    quarantined_events = ma.fields.Int(
        allow_none=True, metadata={"description": "Refused by Kafka, and those parked behind them."}
    )
    dead_letters = ma.fields.Int(allow_none=True, metadata={"description": "Open ones."})
    failed_jobs = ma.fields.List(ma.fields.Str(), allow_none=True)
    worker_clock = Timestamp(allow_none=True)
    database_clock = Timestamp(allow_none=True)


class StatusSchema(Schema):
    gateway_clock = Timestamp()
    services = ma.fields.List(ma.fields.Nested(ServiceStatusSchema))


@blp.route("/status")
class Status(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.doc(operationId="getStatus")
    @blp.response(200, StatusSchema)
    def get(self) -> Any:
        """Retrieve the status of all services

        What waits in the queues and outboxes, what has failed, and the clocks. A worker answers from its queue, so one
        that is behind shows as not responding.
        """
        queues = _queues()
        calls = {service: Call(ShowStatus(service=service)) for service in settings.SERVICES}
        found, _failures = gather(calls, timeout_seconds=settings.READ_TIMEOUT_SECONDS)
        unknown = dict.fromkeys(ServiceStatusSchema().fields)
        return {
            "gateway_clock": datetime.now(UTC).isoformat(),
            "services": [
                unknown | {"service": service, "responds": service in found} | queues[service] | found.get(service, {})
                for service in settings.SERVICES
            ],
        }


def _queues() -> dict[str, dict[str, Any]]:
    """Return length and age of the oldest message of each queue. Raises Unavailable."""
    try:
        with queue_redis().pipeline(transaction=False) as pipeline:
            for service in settings.SERVICES:
                pipeline.llen(service)
                pipeline.lindex(service, -1)
            replies = pipeline.execute()
    except RedisError as error:
        raise Unavailable("The queue") from error
    now = time.time()
    return {
        service: {"queued_messages": length, "oldest_message_seconds": _age(oldest, now)}
        for service, length, oldest in zip(settings.SERVICES, replies[::2], replies[1::2], strict=True)
    }


def _age(message: bytes | None, now: float) -> float:
    sent_at = sent_at_of(message) if message else None
    return max(now - sent_at, 0.0) if sent_at else 0.0
