"""What an event is: a frozen payload whose class gives its type and its topic."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec

EVERY_SERVICE = "*"  # the topic of news that each service tells for itself
PERSONAL = ("pii", "sub")  # the attributes of a payload that name a person

Moment = Annotated[datetime, msgspec.Meta(tz=True)]  # one without its zone is refused


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that has happened, and is durable."""

    type: ClassVar[str]
    topic: ClassVar[str]
    kept_for_good: ClassVar[bool]  # a projection is made of it; all others leave the outbox after some days
    schema_version: ClassVar[int] = 1

    by_type: ClassVar[dict[str, "EventClass"]] = {}

    def __init_subclass__(cls, *, topic: str, kept_for_good: bool = False) -> None:
        cls.topic = topic
        cls.kept_for_good = kept_for_good
        cls.type = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()
        Event.by_type[cls.type] = cls

    @property
    def teller(self) -> str:
        """The service that tells it, on its own topic."""
        return self.topic


AnyEvent = dict[str, Any]  # the payload of an event of whatever type, for handlers that take all of them


def without_person(payload: AnyEvent) -> AnyEvent:
    """``payload`` as it may leave the house: ids that only we can resolve, and nothing that names somebody."""
    return {name: value for name, value in payload.items() if name not in PERSONAL}


EventClass = type[Event]  # within the class, ``type`` is the name of the event


def every_event() -> Iterator[EventClass]:
    """Each event class there is, in the order of the services."""
    yield from Event.by_type.values()
