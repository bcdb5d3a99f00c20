"""Events of the feed and of webhooks."""

from typing import Any

import msgspec

from . import models

Event = models.Event


class UnknownEvent(models.EventEnvelope, kw_only=True):
    """An event of a type that this version of the client does not know."""

    type: str
    data: dict[str, Any]


class RawFeedPage(msgspec.Struct):
    """A page of the feed whose events are not decoded yet."""

    items: list[msgspec.Raw]
    next_after: str
    has_more: bool


def decode(event: bytes | msgspec.Raw) -> Event | UnknownEvent:
    """Return the typed event of a CloudEvent in JSON."""
    try:
        known: Event = _DECODER.decode(event)
    except msgspec.ValidationError:
        return msgspec.json.decode(event, type=UnknownEvent)
    return known


_DECODER = msgspec.json.Decoder(Event)
