"""Verification of the webhooks that Coursebus sends."""

from collections.abc import Mapping

import standardwebhooks

from .errors import CoursebusError
from .events import Event, UnknownEvent, decode


class SignatureInvalid(CoursebusError):
    """The webhook was not signed with this secret, or more than five minutes ago."""


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> Event | UnknownEvent:
    """Return the event in the ``body`` of a webhook. ``secret`` begins with ``whsec_``.

    Raises SignatureInvalid. ``webhook-id`` is the event's id, the same in every attempt: store it to recognise a
    repetition.
    """
    try:
        standardwebhooks.Webhook(secret).verify(body, dict(headers))
    except (standardwebhooks.WebhookVerificationError, ValueError) as error:
        raise SignatureInvalid(str(error)) from error
    return decode(body)
