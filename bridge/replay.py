"""Events of the past sent again: all to Kafka, or some to one handler. What was done before is not done twice."""

from datetime import datetime

from sqlalchemy import select, update

from models.base import sessions
from models.outbox import OutboxEvent

from .dispatch import Dispatcher
from .feed import feed, past_events, told_since
from .routes import ROUTES
from .tellers import tellers_of

BATCH = 1000


def send_again(service: str, *, since: datetime | None) -> int:
    """Put what ``service`` has published since then back to "unpublished"; the relay sends it in the same order.

    Returns how many events that were.
    """
    count, after = 0, 0
    # The oldest first, so that a relay which is at work meanwhile sends the events of a key in their order.
    while batch := _unpublish(service, since, after):
        count, after = count + len(batch), batch[-1]
    return count


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


def _unpublish(service: str, since: datetime | None, after: int) -> list[int]:
    published = select(OutboxEvent.seq).where(
        OutboxEvent.aggregatetype == service,
        OutboxEvent.published_at.is_not(None),
        OutboxEvent.seq > after,
        *told_since(since),
    )
    with sessions(service).begin() as session:
        batch = list(session.scalars(published.order_by(OutboxEvent.seq).limit(BATCH)))
        session.execute(
            update(OutboxEvent)
            .where(OutboxEvent.seq.in_(batch))
            .values(published_at=None)
            .execution_options(synchronize_session=False)
        )
    return batch
