"""Redeliver past events to one handler. Events that it has processed have no second effect."""

from datetime import datetime

from models.outbox import OutboxEvent

from .dispatch import Dispatcher
from .feed import feed, past_events, told_since
from .routes import ROUTES
from .tellers import tellers_of


def hand_again(dispatcher: Dispatcher, handler: str, *, topic: str | None, since: datetime | None) -> int:
    """Send ``handler`` the past events that are routed to it, bypassing Kafka; return their number.

    The handler's inbox skips events that it has processed. An event that fails becomes a dead letter.
    """
    types = sorted(type_ for type_, handlers in ROUTES.items() if handler in handlers)
    told_by = {teller for type_ in types for teller in tellers_of(type_)}
    conditions = [OutboxEvent.type.in_(types), *told_since(since)]
    return sum(
        feed(dispatcher, handler, past_events(service, *conditions))
        for service in sorted(told_by)
        if topic in {None, service}
    )
