"""Who tells what: the topics that events of a type are found on."""

from celery_app import SERVICES
from models.events import EVERY_SERVICE, Event


def tellers_of(type_: str) -> tuple[str, ...]:
    """The services that tell events of ``type_``, each on its own topic."""
    topic = Event.by_type[type_].topic
    return SERVICES if topic == EVERY_SERVICE else (topic,)
