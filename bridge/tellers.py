"""Which services publish which events."""

from models.events import EVERY_SERVICE, Event
from settings import SERVICES


def tellers_of(type_: str) -> tuple[str, ...]:
    """Return the services that publish events of ``type_``, each on its own topic."""
    topic = Event.by_type[type_].topic
    return SERVICES if topic == EVERY_SERVICE else (topic,)
