"""Base class of domain events: a frozen payload whose class defines the event type and the topic."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec

SHARED_TOPIC = "*"  # the ``topic`` of events that every service publishes, each on its own Kafka topic
PII_FIELDS = ("pii", "sub")  # the attributes of a payload that identify a person

AwareDatetime = Annotated[datetime, msgspec.Meta(tz=True)]  # a time without a zone is rejected


@dataclass(frozen=True, kw_only=True)
class Event:
    """A committed fact."""

    type: ClassVar[str]
    topic: ClassVar[str]
    retained_forever: ClassVar[
        bool
    ]  # needed to rebuild projections; others are deleted from the outbox after some days
    schema_version: ClassVar[int] = 1

    by_type: ClassVar[dict[str, "EventClass"]] = {}

    def __init_subclass__(cls, *, topic: str, retained_forever: bool = False) -> None:
        cls.topic = topic
        cls.retained_forever = retained_forever
        cls.type = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()
        Event.by_type[cls.type] = cls

    @property
    def producer(self) -> str:
        """Return the service that publishes the event; this is also the name of the Kafka topic."""
        return self.topic


EventPayload = dict[str, Any]  # the payload for handlers that take events of any type


def without_pii(payload: EventPayload) -> EventPayload:
    """Return ``payload`` without personal data, for integrators. Ids remain: only this platform can resolve them."""
    return {name: value for name, value in payload.items() if name not in PII_FIELDS}


EventClass = type[Event]  # within the class, ``type`` is the name of the event


def all_event_types() -> Iterator[EventClass]:
    """Yield every event class, in the order of definition."""
    yield from Event.by_type.values()
