"""Past events given to one handler once more. What it has done before is not done twice."""

from datetime import datetime

from models.outbox import OutboxEvent

from .dispatch import Dispatcher
from .feed import feed, past_events, told_since
from .routes import ROUTES
from .tellers import tellers_of


def hand_again(dispatcher: Dispatcher, handler: str, *, topic: str | None, since: datetime | None) -> int:
    """Give ``handler`` the events that are routed to it, without Kafka; its inbox passes over what it has done.

    Returns how many events that were. One that it cannot take becomes a dead letter.
    """
    types = sorted(type_ for type_, handlers in ROUTES.items() if handler in handlers)
    told_by = {teller for type_ in types for teller in tellers_of(type_)}
    conditions = [OutboxEvent.type.in_(types), *told_since(since)]
    return sum(
        feed(dispatcher, handler, past_events(service, *conditions))
        for service in sorted(told_by)
        if topic in {None, service}
    )
