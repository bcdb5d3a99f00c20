"""Redeliver past events to one handler. Events that it has processed have no second effect."""

from datetime import datetime

from bridge.consumer.dispatch import Dispatcher
from core.bus.outbox import OutboxEvent
from models.events.routes import ROUTES, producers_of

from .past_events import created_since, iter_past_events, redeliver


def redeliver_to_handler(dispatcher: Dispatcher, handler: str, *, topic: str | None, since: datetime | None) -> int:
    """Send ``handler`` the past events that are routed to it, bypassing Kafka; return their number.

    The handler's inbox skips events that it has processed. An event that fails becomes a dead letter.
    """
    types = sorted(type_ for type_, handlers in ROUTES.items() if handler in handlers)
    producers = {producer for type_ in types for producer in producers_of(type_)}
    conditions = [OutboxEvent.type.in_(types), *created_since(since)]
    return sum(
        redeliver(dispatcher, handler, iter_past_events(service, *conditions))
        for service in sorted(producers)
        if topic in {None, service}
    )
