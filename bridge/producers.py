"""Which services publish which events."""

from models.events import SHARED_TOPIC, Event
from settings import SERVICES


def producers_of(type_: str) -> tuple[str, ...]:
    """Return the services that publish events of ``type_``, each on its own topic."""
    topic = Event.by_type[type_].topic
    return SERVICES if topic == SHARED_TOPIC else (topic,)
